"""Scores of whole PRM forms on the tiny checkpoints of this folder, by the procedure of each form's own project.

Usage: make_scores.py FAMILIES_DIR [FAMILY...]      (README.md lists the versions)

Writes `scores.json` beside each checkpoint: for each form questions, candidates, and one float32 number per step. The procedures
(template, tokenisation, place, head) are our reading of the projects' code, which the records of the forms name as `source`; of those
records this script takes the long system messages alone. Nothing of the program that is tested is used.
"""
import json, math, pathlib, sys, tomllib

import sentencepiece
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer, InternVLForConditionalGeneration
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Config, Qwen2Model
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

FAMILIES = pathlib.Path(sys.argv[1])
FORMS = pathlib.Path(__file__).resolve().parents[3] / "src/prompt/form/builtin"
PROBLEM = ("What is 12 + 30 - x? Größe in µm, 角度 in °.", [
    ["Step 1: 12 + 30 = 42.", "Step 2: so we'll have 42 pieces; it's 1234567 in total.", "The answer is 42."],
    ["Größe ≠ 3 µm, naïve 角度 是 180°; Ответ: да 🙂", "  two  spaces = x[0] * (y - 1)", "So they've made a mistake", "7"],
    ["First, we compute the area: 4 * 4 = 16, so AB isn't 5."],
])
# Where white space is: the question's own, that of steps, and a step without any text.
SPACES = ("  How many <apples>?\n", [["\tThere are  7.  ", "", " So it's 7. "], ["No. "]])

# Marks of plain text: white space before one becomes part of its token, and the projects' code finds no score there.
NO_SPACES = ["math-shepherd", "math-psa"]


def system(form):
    return tomllib.loads((FORMS / f"{form}.toml").read_text())["text"]["system"]


def causal(name):
    return AutoModelForCausalLM.from_pretrained(FAMILIES / name, dtype=torch.float32).eval()


def qwen_tokenizer(name):
    return AutoTokenizer.from_pretrained(FAMILIES / name)


def sentencepiece_encode(name):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(FAMILIES / name / "tokenizer.model"))
    return lambda text: [processor.bos_id(), *processor.encode(text)]


def chatml(messages, ask=False):
    """The chat template of Qwen2.5 and of InternVL's `internvl2_5`, for messages that begin with a system message."""
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return text + "<|im_start|>assistant\n" * ask


def at_mark(model, encode, labels, mark, text):
    """OpenR and Math-Shepherd: the softmax of two logits at each mark."""
    ids = torch.tensor([encode(text)])
    scores = model(ids).logits[:, :, labels].softmax(dim=-1)[:, :, 0]
    return scores[ids == mark].tolist()


def math_shepherd(name):
    """README.md of math-shepherd-mistral-7b-prm; `_math_shepherd_infer_fn` of OpenR."""
    model, encode = causal(name), sentencepiece_encode(name)
    labels, mark = encode("+ -")[1:], encode("ки")[-1]
    assert len(labels) == 2
    return lambda question, steps: at_mark(model, encode, labels, mark, f"{question} " + "\n".join(f"{step} ки" for step in steps))


def math_psa(name):
    """`_qwen_math_infer_fn` and evaluate_qwen.py of OpenR."""
    model, encode = causal(name), qwen_tokenizer(name).encode
    labels, mark = encode(" + -"), encode(" \n\n\n\n\n")
    assert (len(labels), len(mark)) == (2, 1)
    text = lambda question, steps: f"{question} " + " ".join(f"{step} \n\n\n\n\n" for step in steps)
    return lambda question, steps: at_mark(model, encode, labels, mark[0], text(question, steps))


def rlhflow(name):
    """`select_sample` of prm_evaluate.py: one forward pass a step, the logits at -3. The template is Llama 3.1's, which trims contents."""
    model, tokenizer = causal(name), qwen_tokenizer(name)
    labels = [tokenizer.encode(text)[-1] for text in "+-"]
    head = lambda role: f"<|start_header_id|>{role}<|end_header_id|>\n\n"

    def template(conversation):
        text = "<|begin_of_text|>" + head("system") + "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        return text + "".join(head(role) + content.strip() + "<|eot_id|>" for role, content in conversation)

    def score(question, steps):
        scores, conversation = [], []
        for index, step in enumerate(step.strip() for step in steps):
            conversation += [("user", step if index else f"{question} {step}"), ("assistant", "+")]
            ids = torch.tensor([tokenizer.encode(template(conversation), add_special_tokens=False)])
            scores.append(model(ids).logits[0, -3, labels].softmax(dim=-1)[0].item())
        return scores

    return score


def own_head(name):
    """The hidden states of a Qwen2 model after the last norm, and the weights of its head."""
    weights = load_file(FAMILIES / name / "model.safetensors")
    weights = {key: value.float() for key, value in weights.items()}
    model = Qwen2Model(Qwen2Config.from_pretrained(FAMILIES / name)).float().eval()
    model.load_state_dict({key.removeprefix("model."): value for key, value in weights.items() if key.startswith("model.")})
    return lambda ids: model(torch.tensor([ids])).last_hidden_state[0], weights


def qwen_math(name):
    """README.md and modeling_qwen2_rm.py of Qwen2.5-Math-PRM-7B."""
    (hidden, weights), tokenizer = own_head(name), qwen_tokenizer(name)
    mark = tokenizer.encode("<extra_0>")[0]
    linear = lambda x, layer: x @ weights[f"score.{layer}.weight"].T + weights[f"score.{layer}.bias"]

    def score(question, steps):
        prompt = "Please reason step by step, and put your final answer within \\boxed{}."
        text = chatml([("system", prompt), ("user", question), ("assistant", "<extra_0>".join(steps) + "<extra_0>")])
        ids = tokenizer.encode(text)
        probabilities = linear(torch.relu(linear(hidden(ids), 0)), 2).softmax(dim=-1)
        return probabilities[torch.tensor(ids) == mark][:, 1].tolist()

    return score


def skywork(name):
    """`prepare_input` and the value head of skywork-o1-prm-inference."""
    (hidden, weights), tokenizer = own_head(name), qwen_tokenizer(name)
    mark = tokenizer.encode("\n")[-1]

    def score(question, steps):
        ids = tokenizer.encode(tokenizer.bos_token + question + "\n")
        flags = [0] * len(ids)
        for step in steps:
            own = tokenizer.encode(step) + [mark]
            ids += own
            flags += [0] * (len(own) - 1) + [1]
        values = hidden(ids) @ weights["v_head.summary.weight"].T + weights["v_head.summary.bias"]
        return torch.sigmoid(values[:, 0])[torch.tensor(flags) == 1].tolist()

    return score


def trl(name):
    """`tokenize_row` of PRMTrainer; class 1 is a right step."""
    model = AutoModelForTokenClassification.from_pretrained(FAMILIES / name, dtype=torch.float32).eval()
    tokenizer = qwen_tokenizer(name)
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]

    def score(question, steps):
        ids = encode(question)
        if tokenizer.bos_token_id is not None:
            ids = [tokenizer.bos_token_id] + ids
        places = []
        for step in steps:
            ids = ids + encode(step) + encode("\n")
            places.append(len(ids) - 1)
        return model(torch.tensor([ids])).logits[0].softmax(dim=-1)[places, 1].tolist()

    return score


def visualprm(name, image=None):
    """`generate_steps_with_soft_score_v2` and `find_placeholder_idx` of VisualPRM-8B; the model in transformers' layout."""
    folder = FAMILIES / f"{name}-hf"
    model = InternVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = [tokenizer.convert_tokens_to_ids(label) for label in "+-"]
    encode = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    begin, target = (encode("<|im_start|>assistant\n" + rest) for rest in ["", "+<|im_end|>\n"])
    given = {}
    if image:
        # The image has the size of one tile.
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        mean, std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ["image_mean", "image_std"])
        file = Image.open(folder / image).convert("RGB")
        pixels = torch.frombuffer(bytearray(file.tobytes()), dtype=torch.uint8).view(*file.size[::-1], 3)
        given = dict(pixel_values=((pixels.permute(2, 0, 1) / 255 - mean) / std)[None])

    def score(question, steps):
        shown = "<image>\n" + question if image else question
        messages = [("system", system("visualprm"))]
        for index, step in enumerate(steps):
            first = f"### Question:\n{shown}\n\n### Solution Process:\n"
            messages += [("user", step if index else first + step), ("assistant", "+")]
        text = chatml(messages).replace("<image>", "<img>" + "<IMG_CONTEXT>" * 4 + "</img>", 1)
        ids = encode(text)
        places = [at + len(begin) - 1 for at in range(len(ids)) if ids[at:at + len(target)] == target]
        assert len(places) == len(steps)
        return model(torch.tensor([ids]), **given).logits[0][places][:, labels].softmax(dim=-1)[:, 0].tolist()

    return score


def qwen_vl_prm(name, image=None):
    """`get_reward` and `inference_single` of QwenVLVisualPRM (vlprm), in the chat template of Qwen2.5-VL; steps end in a blank line, as
    in its training data. The sizes of images are those of the checkpoint's processor."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(FAMILIES / name, dtype=torch.float32).eval()
    tokenizer = qwen_tokenizer(name)
    labels = [tokenizer.encode(label)[0] for label in "+-"]
    pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    shown, given = "", {}
    if image:
        settings = json.loads((FAMILIES / name / "preprocessor_config.json").read_text())
        settings = {key: settings[key] for key in ["patch_size", "min_pixels", "max_pixels"]}
        inputs = Qwen2VLImageProcessorPil(**settings)(images=Image.open(FAMILIES / name / image), return_tensors="pt")
        given = dict(pixel_values=inputs.pixel_values, image_grid_thw=inputs.image_grid_thw)
        count = int(inputs.image_grid_thw.prod()) // 4
        shown = "<|vision_start|>" + "<|image_pad|>" * count + "<|vision_end|>"

    def score(question, steps):
        scores = []
        messages = [("system", system("qwen-vl-prm"))]
        for index, step in enumerate(f"{step}\n\n" for step in steps):
            first = f"{shown}### Question:\n{question}\n\n### Solution Process:\n"
            messages.append(("user", step if index else first + step))
            ids = torch.tensor([tokenizer.encode(chatml(messages, ask=True))])
            kinds = dict(mm_token_type_ids=(ids == pad).int()) if image else {}
            scores.append(model(ids, **given, **kinds).logits[0, -1, labels].softmax(dim=-1)[0].item())
            messages.append(("assistant", "+"))
        return scores

    return score


def logprobs(name):
    """Sums of log-probabilities of a candidate's steps, as the policy of MM-PRM writes them: a token is the step's in which it ends."""
    model, tokenizer = causal(name), qwen_tokenizer(name)
    task = " Your task is to answer the question below. Give complete reasoning steps before you answer, and when you are ready to " \
        "answer, use Answer: The final answer is ..\n\nQuestion: "

    def sums(question, steps):
        begin = chatml([("system", system("implicit")), ("user", task + question)], ask=True)
        parts = [f"<step>{step}</step>" for step in steps[:-1]] + [f"<answer>{steps[-1]}</answer><|im_end|>"]
        prompt, own = tokenizer.encode(begin), tokenizer("".join(parts), return_offsets_mapping=True)
        ids = prompt + own.input_ids
        assert ids == tokenizer.encode(begin + "".join(parts))
        all_logprobs = model(torch.tensor([ids])).logits[0, len(prompt) - 1:-1].log_softmax(dim=-1)
        found = all_logprobs.gather(1, torch.tensor(own.input_ids)[:, None])[:, 0].tolist()
        ends = [len("".join(parts[:count + 1])) for count in range(len(parts))]
        totals = [0.0] * len(parts)
        for (_, end), logprob in zip(own.offset_mapping, found):
            totals[next(index for index, limit in enumerate(ends) if end <= limit)] += logprob
        return totals

    return sums


def implicit(name):
    own = logprobs(name)
    return lambda question, steps: [math.exp(total) for total in own(question, steps)]


def ratio(name, reference, beta, cumulative):
    """The rewards of implicit PRMs (arXiv 2412.01981): β·Σ(log π − log π_ref), here in the logistic function."""
    own, other = logprobs(name), logprobs(reference)

    def score(question, steps):
        rewards = [beta * (a - b) for a, b in zip(own(question, steps), other(question, steps))]
        if cumulative:
            rewards = [sum(rewards[:count + 1]) for count in range(len(rewards))]
        return [1 / (1 + math.exp(-reward)) for reward in rewards]

    return score


def text(form, score):
    return lambda name: [dict(form=form, score=score(name))]


def with_image(form, score, image):
    return lambda name: [dict(form=form, score=score(name)), dict(form=form, images=[image], score=score(name, image))]


def implicits(name):
    ratios = [dict(beta=0.05, cumulative=cumulative) for cumulative in [True, False]]
    return [dict(form="implicit", score=implicit(name))] + [
        dict(form="implicit-ratio", reference="qwen3", **more, score=ratio(name, "qwen3", **more)) for more in ratios
    ]


MAKE = {
    "internvl3_5": with_image("visualprm", visualprm, "tile.png"),
    "qwen2_5-vl": with_image("qwen-vl-prm", qwen_vl_prm, "photo.png"),
    "qwen2-math-prm": text("qwen2.5-math-prm", qwen_math),
    "skywork-prm": text("skywork-o1-prm", skywork),
    "math-shepherd": text("math-shepherd", math_shepherd),
    "llama3": text("rlhflow-llama3.1", rlhflow),
    "math-psa": text("math-psa", math_psa),
    "qwen2-tokens": text("trl", trl),
    "llama3-tokens": text("trl", trl),
    "smollm2-tokens": text("trl", trl),
    "qwen2_5": implicits,
}

torch.set_num_threads(1)
for name in sys.argv[2:] or MAKE:
    cases = []
    with torch.no_grad():
        for case in MAKE[name](name):
            score = case.pop("score")
            problems = []
            for question, candidates in [PROBLEM] if case["form"] in NO_SPACES else [PROBLEM, SPACES]:
                candidates = [dict(steps=steps, scores=score(question, steps)) for steps in candidates]
                assert all(len(candidate["steps"]) == len(candidate["scores"]) for candidate in candidates), name
                problems.append(dict(question=question, candidates=candidates))
            cases.append({**case, "problems": problems})
    path = FAMILIES / name / "scores.json"
    path.write_text(json.dumps(cases, indent=2, ensure_ascii=False) + "\n")
    print(name)
