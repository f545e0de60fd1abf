"""Critiques and scores after them by transformers, for PRM forms with `by = "critique"`.

Usage: critiques.py > critiques.json      (beside the checkpoints that make_tiny.py made; README.md lists the versions)

A critique is drawn greedily, one forward pass a token. It ends before the first stop text, at an end token, or at its maximum. Its tokens
stay, as far as they are whole before a stop text; what is left of the next one is tokenised with the text up to the verdict.
"""
import json, pathlib, sys

import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
QUESTION = "What is 12 + 30?"
SOLUTIONS = [["12 + 30 = 42.", "The answer is 42."], ["12 + 30 = 43.", "", "So it is 43."], ["12 + 30 = 42."]]
SCORE = 'by = "critique"\ntokens = ["+", "-"]\npositive = ["+"]\n'


class SentencePiece:
    """As llama.cpp uses it: a space before each text."""

    def __init__(self, folder):
        self.model = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
        self.first, self.ends = [self.model.bos_id()], [self.model.eos_id()]

    def encode(self, text):
        return self.model.encode(text)

    def token(self, text):
        return self.model.piece_to_id(text)

    def bytes(self, token):
        if self.model.is_byte(token):
            return bytes([int(self.model.id_to_piece(token)[1:-1], 16)])
        return self.model.id_to_piece(token).replace("▁", " ").encode()


class Bpe:
    def __init__(self, folder):
        self.model = AutoTokenizer.from_pretrained(folder)
        self.first = [self.model.bos_token_id] if self.model("x")["input_ids"][0] == self.model.bos_token_id else []
        # llama.cpp ends at these texts whatever the configuration says.
        texts = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>"]
        self.ends = [self.model.get_vocab()[text] for text in texts if text in self.model.get_vocab()]
        # Byte-level BPE writes bytes as printable characters.
        keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
        rest = [byte for byte in range(256) if byte not in keep]
        self.byte = {chr(byte): byte for byte in keep} | {chr(256 + index): byte for index, byte in enumerate(rest)}

    def encode(self, text):
        return self.model(text, add_special_tokens=False)["input_ids"]

    def token(self, text):
        return self.model.get_vocab()[text]

    def bytes(self, token):
        text = self.model.convert_ids_to_tokens(token)
        if text is None:
            return b""  # a row beyond the vocabulary
        return text.encode() if token in self.model.all_special_ids else bytes(self.byte[character] for character in text)


def next_logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0, -1]


def write(model, tokenizer, tokens, maximum, stops):
    """The tokens that stay, the text of the critique, what is left of a token, and whether the maximum was reached."""
    drawn, texts = [], []
    while len(drawn) < maximum:
        logits = next_logits(model, tokens + drawn)
        high = logits.topk(2).values
        assert high[0] - high[1] > 2e-3, "the two most probable tokens are too near to each other for another summation order"
        token = int(logits.argmax())
        if token in tokenizer.ends:
            return drawn, b"".join(texts), "", False
        drawn.append(token)
        texts.append(tokenizer.bytes(token))
        places = [place for stop in stops if (place := b"".join(texts).find(stop.encode())) >= 0]
        if places:
            text = b"".join(texts)[: min(places)]
            whole = max(count for count in range(len(texts)) if len(b"".join(texts[:count])) <= len(text))
            return drawn[:whole], text, text[len(b"".join(texts[:whole])):].decode(), False
    return drawn, b"".join(texts), "", True


def judge(model, tokenizer, tokens, maximum, stops, after):
    kept, text, rest, truncated = write(model, tokenizer, tokens, maximum, stops)
    tokens = tokens + kept + tokenizer.encode(rest + after)
    plus, minus = map(tokenizer.token, "+-")
    logits = next_logits(model, tokens).double()
    score = torch.softmax(logits[[plus, minus]], 0)[0].item()
    critique = dict(text=text.decode(errors="replace"), truncated=truncated)
    return tokens + [plus if logits[plus] >= logits[minus] else minus], score, critique


def turns(model, tokenizer, steps, maximum, stops):
    """Each step in a turn, after which its critique and verdict stay."""
    tokens, judged = tokenizer.first, []
    text = f"Question: {QUESTION}\n"
    for number, step in enumerate(steps, 1):
        tokens = tokens + tokenizer.encode(f"{text}{step}\nCheck {number}: ")
        tokens, *found = judge(model, tokenizer, tokens, maximum, stops, "\nIs it correct? (")
        judged.append(found)
        text = ").\n"
    return judged


def at_end(model, tokenizer, steps, maximum, stops):
    """A critique of the steps up to the scored one."""
    judged = []
    for number in range(1, len(steps) + 1):
        shown = "".join(f"Step {index}: {step}\n" for index, step in enumerate(steps[:number], 1))
        text = f"Question: {QUESTION}\n{shown}Check step {number}.\n"
        _, *found = judge(model, tokenizer, tokenizer.first + tokenizer.encode(text), maximum, stops, f"\nIs step {number} correct? (")
        judged.append(found)
    return judged


FORMS = {
    turns: '[text]\nbegin = "Question: {question}\\n"\n'
    'step = "{step}\\nCheck {number}: {critique}\\nIs it correct? ({read}{verdict}).\\n"\n',
    at_end: '[text]\nbegin = "Question: {question}\\n"\nstep = "Step {number}: {step}\\n"\n'
    'end = "Check step {number}.\\n{critique}\\nIs step {number} correct? ({read}"\n',
}
CASES = [("smollm2", Bpe, 16, ["re", "mp"]), ("llama2", SentencePiece, 16, ["ec", "AB"])]

if __name__ == "__main__":
    cases = []
    for family, kind, maximum, stops in CASES:
        folder = HERE / family
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = kind(folder)
        for form, text in FORMS.items():
            found = [form(model, tokenizer, steps, maximum, stops) for steps in SOLUTIONS]
            record = f'name = "{form.__name__}"\n{text}[score]\n{SCORE}max_tokens = {maximum}\nstop = {json.dumps(stops)}\n'
            scores = [[score for score, _ in steps] for steps in found]
            critiques = [[critique for _, critique in steps] for steps in found]
            cases.append(dict(family=family, form=record, question=QUESTION, solutions=SOLUTIONS, critiques=critiques, scores=scores))
    json.dump(cases, sys.stdout, indent=1, ensure_ascii=False)
    print()
