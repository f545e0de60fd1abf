"""Makes a tiny random checkpoint of every model family that `mmprm convert` reads, and golden numbers by the family's own code.

Usage: make_tiny.py OUT_DIR [NAME...]      (README.md lists the versions)

Each folder has a checkpoint as published ones look, `golden.json` (token ids of texts) and `golden.safetensors` (float32 numbers
of the bfloat16 weights, computed by transformers on a CPU). Heads whose code is not in transformers are read here as their
authors' code reads them: `Qwen2ForProcessRewardModel` (Qwen2.5-Math-PRM) and the value head of Skywork-o1-Open-PRM.
"""
import io, json, pathlib, shutil, sys, tempfile

import sentencepiece
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer, Qwen2Model
from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForTokenClassification, Qwen3Config, Qwen3ForCausalLM
from transformers import LlamaForTokenClassification
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

OUT = pathlib.Path(sys.argv[1])
ROWS = 384
CORPUS = """The sum of the angles of a triangle is 180 degrees. Step 1: add the two numbers, then divide by three.
So x + 2 = 7 and x = 5. The answer is 5. Is each step correct? Yes. No. We have 12 apples and 30 pears; how many pieces of fruit?
First, we compute the area of the square: 4 * 4 = 16. Second, we subtract the area of the circle. Therefore the result isn't 16.
It's easy to see that they've made a mistake, we'll start again: the total number of pieces is 12 + 30 = 42.
Each step of the solution is + or -. Look at the figure and find the length of the side AB.""".splitlines()
# What the vocabularies of PRMs that end steps in a mark of plain text have as single tokens: the mark, ` +` and ` -`.
MARKED = {mark: [f"Step {i}: {i} + 3 - 2 = {i + 1}{mark}" for i in range(1, 10)] * 8 for mark in [" ки", " \n\n\n\n\n"]}
TEXTS = [
    "The answer is 5.",
    "Step 1: 12 + 30 = 42.\nStep 2: so we'll have 42 pieces; it's 1234567 in total.\n\n\nIsn't it?",
    "  two  spaces\tand a tab\r\n    indented = x[0] * (y - 1)",
    "Größe ≠ 3 µm, naïve 角度 是 180°, Ответ: да 🙂👍🏽 e̍x",
    "I'LL SHOUT, don't\n \n  ",
]
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def write(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def bpe(split, specials, size, ignore_merges, more=()):
    """Trains a byte-level BPE with a family's splitter (None: SmolLM's); special tokens follow the base vocabulary."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False) if split else pre_tokenizers.Digits(True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=not split),
    ])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*CORPUS * 2, *more], trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    return tokenizer


def qwen_tokenizer(folder, specials=(), eos="<|im_end|>", files="json", bos=None, more=()):
    """A tokenizer as Qwen2.5 and Qwen3 have it: tokenizer.json, or as InternVL3 has it: vocab.json, merges.txt, added tokens."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *specials]
    tokenizer = bpe(QWEN2_SPLIT, specials, 360, False, more)
    tokenizer.normalizer = normalizers.NFC()
    decoder = {
        str(tokenizer.token_to_id(text)): dict(
            content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True
        )
        for text in specials
    }
    config = dict(
        add_bos_token=False, add_prefix_space=False, added_tokens_decoder=decoder, bos_token=bos, eos_token=eos, errors="replace",
        clean_up_tokenization_spaces=False, model_max_length=131072, pad_token="<|endoftext|>", split_special_tokens=False,
        tokenizer_class="Qwen2Tokenizer", unk_token=None,
        chat_template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    )
    write(folder / "tokenizer_config.json", config)
    if files == "json":
        tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        tokenizer.model.save(str(folder))
        write(folder / "added_tokens.json", {text: tokenizer.token_to_id(text) for text in specials})


def llama3_tokenizer(folder):
    """A tokenizer as Llama 3.1 has it."""
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = bpe(LLAMA3_SPLIT, specials, 360, True)
    bos = specials[0]
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True),
        processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        ),
    ])
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", dict(
        bos_token=bos, clean_up_tokenization_spaces=True, eos_token="<|eot_id|>", model_max_length=131072,
        model_input_names=["input_ids", "attention_mask"], tokenizer_class="PreTrainedTokenizerFast",
        added_tokens_decoder={str(tokenizer.token_to_id(text)): dict(
            content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True
        ) for text in specials},
    ))
    write(folder / "special_tokens_map.json", dict(bos_token=bos, eos_token="<|eot_id|>"))


def smollm_tokenizer(folder):
    """A tokenizer as SmolLM2 has it, also as vocab.json and merges.txt."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = bpe(None, specials, 360, False)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    write(folder / "tokenizer_config.json", dict(
        add_prefix_space=False, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>", unk_token="<|endoftext|>",
        clean_up_tokenization_spaces=False, model_max_length=8192, tokenizer_class="GPT2Tokenizer",
        added_tokens_decoder={str(tokenizer.token_to_id(text)): dict(
            content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True
        ) for text in specials},
    ))


def sentencepiece_tokenizer(folder, more=()):
    """A tokenizer as Llama 2 and Mistral have it."""
    with tempfile.TemporaryDirectory() as tmp:
        corpus = pathlib.Path(tmp) / "corpus.txt"
        corpus.write_text("\n".join([*CORPUS * 4, *more]))
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_writer=model, model_type="bpe", vocab_size=ROWS, byte_fallback=True, num_threads=1,
            normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, minloglevel=2,
            allow_whitespace_only_pieces=True, character_coverage=1.0, max_sentencepiece_length=16,
        )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    special = {str(i): dict(content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
               for i, text in enumerate(["<unk>", "<s>", "</s>"])}
    write(folder / "tokenizer_config.json", dict(
        add_bos_token=True, add_eos_token=False, added_tokens_decoder=special, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        clean_up_tokenization_spaces=False, legacy=False, tokenizer_class="LlamaTokenizer", sp_model_kwargs={},
    ))


def randomise(model, seed):
    """Weights of a size at which every part matters; norms are not 1, biases not 0. Rounded to bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1 and name.endswith("weight"):
                value = 1 + 0.1 * noise
            elif "lambda_" in name:
                value = 0.5 + 0.1 * noise
            elif weight.dim() == 1:
                value = 0.2 * noise
            elif "embed_tokens" in name or "lm_head" in name:
                value = 0.3 * noise
            else:
                value = noise * 1.5 / weight[0].numel() ** 0.5
            weight.copy_(value.bfloat16().float())
    return model.eval()


def save(folder, tensors):
    save_file({name: value.bfloat16().contiguous() for name, value in tensors.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})


def small(**more):
    return dict(
        vocab_size=ROWS, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, rms_norm_eps=1e-6, **more,
    )


def old_style(folder, **more):
    """Rewrites config.json as transformers 4 wrote it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for section in [config, config.get("text_config", {})]:
        rope = section.pop("rope_parameters", None)
        if rope:
            section["rope_theta"] = rope.pop("rope_theta")
            kind = rope.get("rope_type", "default")
            section["rope_scaling"] = None if kind == "default" else rope
        if "dtype" in section:
            section["torch_dtype"] = section.pop("dtype")
    config["transformers_version"] = "4.46.1"
    write(path, {**config, **more})


def text_golden(folder):
    """Token ids of texts, and the prompt whose logits are recorded: the first two texts."""
    if (folder / "tokenizer.model").exists():
        # sentencepiece itself: transformers 5 rebuilds it from parts, and differs at texts that begin with several spaces.
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        return [[processor.bos_id(), *processor.encode(text)] for text in TEXTS]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text).input_ids for text in TEXTS]


def prompt(ids):
    """The tokens whose logits and hidden states are recorded."""
    return ids[0] + ids[1][:24]


def finish(folder, ids, outputs, **more):
    write(folder / "golden.json", dict(texts=TEXTS, ids=ids, prompt=prompt(ids), **more))
    save_file({name: value.float().contiguous() for name, value in outputs.items()}, folder / "golden.safetensors")


@torch.no_grad()
def causal(name, config, cls, tokenizer, seed, after=lambda folder: None):
    folder = fresh(name)
    model = randomise(cls(config), seed)
    model.bfloat16().save_pretrained(folder)
    tokenizer(folder)
    after(folder)
    ids = text_golden(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    result = model(torch.tensor([prompt(ids)]), output_hidden_states=True)
    finish(folder, ids, dict(logits=result.logits[0], hidden=result.hidden_states[-1][0]))
    return folder


@torch.no_grad()
def token_classification(name, config, cls, tokenizer, seed, after=lambda folder: None):
    folder = fresh(name)
    randomise(cls(config), seed).bfloat16().save_pretrained(folder)
    tokenizer(folder)
    after(folder)
    ids = text_golden(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    result = model(torch.tensor([prompt(ids)]), output_hidden_states=True)
    hidden = result.hidden_states[-1][0]
    finish(folder, ids, dict(head=result.logits[0], hidden=hidden, logits=unembed(model.model, hidden)))


def unembed(model, hidden):
    """What llama.cpp computes as logits of a model without a vocabulary's head: products with the embeddings."""
    return hidden @ model.embed_tokens.weight.T


@torch.no_grad()
def own_head(name, tokenizer, seed, architecture, head, forward, **more):
    """A Qwen2 checkpoint with a head whose code is not in transformers."""
    folder = fresh(name)
    config = Qwen2Config(**small(), rope_parameters=dict(rope_type="default", rope_theta=10000.0), tie_word_embeddings=False)
    model = randomise(Qwen2ForCausalLM(config), seed)
    model.config.save_pretrained(folder)
    old_style(folder, architectures=[architecture], **more)
    tokenizer(folder)
    generator = torch.Generator().manual_seed(seed + 100)
    weights = {key: (torch.randn(shape, generator=generator) * scale).bfloat16() for key, (shape, scale) in head.items()}
    is_beside = "v_head.summary.weight" in head  # the vocabulary's head
    own = {key: value for key, value in model.state_dict().items() if is_beside or not key.startswith("lm_head")}
    save(folder, {**own, **weights})
    ids = text_golden(folder)
    hidden = model.model(torch.tensor([prompt(ids)])).last_hidden_state[0]
    weights = {key: value.float() for key, value in weights.items()}
    logits = model.lm_head(hidden) if is_beside else unembed(model.model, hidden)
    finish(folder, ids, dict(head=forward(hidden, weights), hidden=hidden, logits=logits))


CHAT_VISION = [  # transformers' names -> InternVL's own
    ("model.vision_tower.", "vision_model."), ("vision_tower.", "vision_model."),
    ("embeddings.cls_token", "embeddings.class_embedding"),
    ("embeddings.patch_embeddings.projection", "embeddings.patch_embedding"),
    ("embeddings.position_embeddings", "embeddings.position_embedding"),
    ("encoder.layer.", "encoder.layers."), ("attention.projection_layer", "attn.proj"),
    ("layernorm_before", "norm1"), ("layernorm_after", "norm2"), ("lambda_1", "ls1"), ("lambda_2", "ls2"),
    ("attention.q_norm", "attn.q_norm"), ("attention.k_norm", "attn.k_norm"),
]


def chat_layout(tensors):
    """Renames the tensors of transformers' layout to those of InternVL's own code (`internvl_chat`), which fuses Q, K and V."""
    renamed, fused = {}, {}
    for name, value in tensors.items():
        name = name.removeprefix("model.") if "language_model" not in name else name
        name = name.replace("model.language_model.", "language_model.model.")
        if name.startswith("lm_head"):
            name = "language_model." + name
        name = name.replace("multi_modal_projector.layer_norm", "mlp1.0").replace("multi_modal_projector.linear_1", "mlp1.1")
        name = name.replace("multi_modal_projector.linear_2", "mlp1.3")
        if "vision_tower" in name:
            for old, new in CHAT_VISION:
                name = name.replace(old, new)
            for part in "qkv":
                key = f"attention.{part}_proj"
                if key in name:
                    fused.setdefault(name.replace(key, "attn.qkv"), {})[part] = value
                    break
            else:
                renamed[name] = value
        else:
            renamed[name] = value
    for name, parts in fused.items():
        renamed[name] = torch.cat([parts[part] for part in "qkv"])
    return renamed


PIXELS = dict(
    crop_size=56, do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.485, 0.456, 0.406],
    image_std=[0.229, 0.224, 0.225], resample=3, rescale_factor=1 / 255,
)
IMAGE_TOKENS = ["<img>", "</img>", "<IMG_CONTEXT>"]


@torch.no_grad()
def internvl(version, text, seed):
    """One model in both layouts; the golden numbers are those of transformers' code."""
    folder = fresh(f"{version}-hf")
    tokenizer = lambda folder, files: qwen_tokenizer(folder, IMAGE_TOKENS, files=files)
    tokenizer(folder, "json")
    ids = text_golden(folder)
    own = AutoTokenizer.from_pretrained(folder)
    image_token = own.convert_tokens_to_ids("<IMG_CONTEXT>")
    vision = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=[56, 56], patch_size=[14, 14],
        attention_bias=True, norm_type="layer_norm", use_qk_norm=False, layer_norm_eps=1e-6,
    )
    config = InternVLConfig(
        vision_config=vision, text_config=text.to_dict(), image_token_id=image_token, image_seq_length=4, downsample_ratio=0.5,
        tie_word_embeddings=text.tie_word_embeddings,
    )
    model = randomise(InternVLForConditionalGeneration(config), seed)
    model.bfloat16().save_pretrained(folder)
    old_style(folder)
    write(folder / "preprocessor_config.json", dict(
        crop_to_patches=True, image_processor_type="GotOcr2ImageProcessorFast", max_patches=12, min_patches=1, **{
            **PIXELS, "crop_size": None, "size": dict(height=56, width=56)}, processor_class="InternVLProcessor",
    ))
    image = torch.randint(0, 256, (56, 56, 3), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    for y in range(56):  # a gradient under the noise, so that patches differ
        image[y] = image[y] // 4 + y * 3
    Image.fromarray(image.numpy()).save(folder / "tile.png")
    mean, std = (torch.tensor(PIXELS[key]).view(3, 1, 1) for key in ["image_mean", "image_std"])
    pixels = ((image.permute(2, 0, 1) / 255 - mean) / std)[None]
    model = InternVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    features = model.get_image_features(pixels)
    features = features.pooler_output if hasattr(features, "pooler_output") else features
    features = torch.cat(list(features)) if isinstance(features, (list, tuple)) else features
    embeddings = features.reshape(-1, text.hidden_size)
    shown = own("<img>").input_ids + [image_token] * 4 + own("</img>\nThe angle is 12 degrees.").input_ids
    outputs = dict(
        logits=model(torch.tensor([prompt(ids)])).logits[0], embeddings=embeddings,
        image_logits=model(torch.tensor([shown]), pixel_values=pixels).logits[0],
    )
    finish(folder, ids, outputs, image_prompt=shown, image_token=image_token)
    chat = fresh(version)
    tokenizer(chat, "vocab")
    assert text_golden(chat) == ids
    hf = load_file(folder / "model.safetensors")
    save(chat, chat_layout(hf))
    shutil.copy(folder / "tile.png", chat / "tile.png")
    shutil.copy(folder / "golden.json", chat / "golden.json")  # the numbers are those of the other layout
    write(chat / "preprocessor_config.json", PIXELS)
    written = json.loads((folder / "config.json").read_text())
    language = {key: value for key, value in written["text_config"].items() if key != "dtype"}
    language["architectures"] = [type(model.model.language_model).__name__.replace("Model", "ForCausalLM")]
    write(chat / "config.json", dict(
        architectures=["InternVLChatModel"], auto_map={"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        downsample_ratio=0.5, dynamic_image_size=True, force_image_size=56, llm_config=language, max_dynamic_patch=12,
        min_dynamic_patch=1, model_type="internvl_chat", pad2square=False, ps_version="v2", select_layer=-1,
        template="internvl2_5", tie_word_embeddings=False, torch_dtype="bfloat16", use_backbone_lora=0, use_llm_lora=0,
        use_thumbnail=True, vision_config=dict(
            architectures=["InternVisionModel"], attention_dropout=0.0, drop_path_rate=0.0, dropout=0.0, hidden_act="gelu",
            hidden_size=32, image_size=56, initializer_factor=1.0, initializer_range=0.02, intermediate_size=64,
            layer_norm_eps=1e-6, model_type="intern_vit_6b", norm_type="layer_norm", num_attention_heads=2, num_channels=3,
            num_hidden_layers=2, patch_size=14, qk_normalization=False, qkv_bias=True, use_flash_attn=True,
        ),
    ))


VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def drawing(path, width, height, seed):
    """An image with a gradient under noise, so that patches differ."""
    image = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    ramp = torch.arange(height).view(-1, 1, 1) * 2 + torch.arange(width).view(1, -1, 1)
    Image.fromarray((image // 4 + ramp % 190).to(torch.uint8).numpy()).save(path)
    return Image.open(path)


@torch.no_grad()
def qwen_vl(name, cls, config, vision, text, processor, seed, is_old):
    """A model with one image that needs no resizing (tile.png) and one that does (photo.png). Older configurations are flat, and
    their tensors have other names."""
    folder = fresh(name)
    qwen_tokenizer(folder, VISION_TOKENS)
    ids = text_golden(folder)
    own = AutoTokenizer.from_pretrained(folder)
    if is_old:
        text = dict(text, bos_token_id=own.convert_tokens_to_ids("<|endoftext|>"), eos_token_id=own.convert_tokens_to_ids("<|im_end|>"))
    start, end, pad, video = (own.convert_tokens_to_ids(token) for token in VISION_TOKENS)
    config = config(
        vision_config=vision, text_config=text, image_token_id=pad, video_token_id=video, vision_start_token_id=start,
        vision_end_token_id=end, tie_word_embeddings=text["tie_word_embeddings"],
    )
    model = randomise(cls(config), seed)
    model.bfloat16().save_pretrained(folder)
    model = cls.from_pretrained(folder, dtype=torch.float32).eval()
    image_processor = Qwen2VLImageProcessorPil(**processor)
    patch = processor["patch_size"]
    images = [
        drawing(folder / "tile.png", 10 * patch, 6 * patch, seed), drawing(folder / "photo.png", 101, 75, seed + 1),
    ]
    inputs = [image_processor(images=image, return_tensors="pt") for image in images]
    outputs = dict(logits=model(torch.tensor([prompt(ids)])).logits[0])
    counts = []
    for label, given in zip(["embeddings", "photo_embeddings"], inputs):
        found = model.get_image_features(given.pixel_values, given.image_grid_thw, return_dict=True)
        features = [found.pooler_output, *(getattr(found, "deepstack_features", None) or [])]
        outputs[label] = torch.cat([torch.cat(list(feature)) for feature in features], dim=-1)
        counts.append(len(outputs[label]))
    texts = [own(text).input_ids for text in ["The angle", "is 12 degrees.\nAnd here:", "it's 5, not 7."]]
    shown = [texts[0] + [start] + [pad] * counts[0] + [end] + texts[1]]
    shown.append(shown[0] + [start] + [pad] * counts[1] + [end] + texts[2])
    for label, tokens, count in [("image", shown[0], 1), ("photo", shown[1], 2)]:
        tokens = torch.tensor([tokens])
        kinds = (tokens == pad).int()
        logits = model(
            tokens, pixel_values=torch.cat([given.pixel_values for given in inputs[:count]]), mm_token_type_ids=kinds,
            image_grid_thw=torch.cat([given.image_grid_thw for given in inputs[:count]]),
        ).logits[0]
        outputs[f"{label}_logits"] = logits[kinds[0] == 0]
    write(folder / "preprocessor_config.json", dict(
        image_processor_type="Qwen2VLImageProcessor", processor_class="Qwen2_5_VLProcessor", merge_size=2, temporal_patch_size=2,
        image_mean=image_processor.image_mean, image_std=image_processor.image_std, **processor,
    ))
    finish(folder, ids, outputs, image_prompt=shown[0], photo_prompt=shown[1], image_token=pad)
    if is_old:
        path = folder / "config.json"
        written = json.loads(path.read_text())
        flat = {key: value for key, value in written.pop("text_config").items() if key not in ["dtype", "model_type", "layer_types"]}
        parameters = flat.pop("rope_parameters")
        flat.update(rope_theta=parameters["rope_theta"], rope_scaling=dict(type="mrope", mrope_section=parameters["mrope_section"]))
        written["vision_config"].pop("rope_parameters", None)
        written["torch_dtype"] = written.pop("dtype")
        write(path, {**flat, **written, "transformers_version": "4.41.2"})
        weights = load_file(folder / "model.safetensors")
        older = lambda key: key.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        save(folder, {older(key): value for key, value in weights.items()})


def fresh(name):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def rope(theta, kind="default", **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


LLAMA3_ROPE = rope(5e5, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = rope(1e4, "yarn", factor=4.0, original_max_position_embeddings=64)

MAKE = {
    "qwen2_5": lambda name: causal(
        name, Qwen2Config(**small(), rope_parameters=rope(1e6), tie_word_embeddings=True), Qwen2ForCausalLM, qwen_tokenizer, 1),
    "qwen2-tokens": lambda name: token_classification(
        name, Qwen2Config(**small(), rope_parameters=YARN, num_labels=2), Qwen2ForTokenClassification, qwen_tokenizer, 2),
    "qwen2-math-prm": lambda name: own_head(
        name, lambda folder: qwen_tokenizer(folder, ["<extra_0>"]), 3, "Qwen2ForProcessRewardModel",
        {"score.0.weight": ((64, 64), 0.2), "score.0.bias": ((64,), 0.2), "score.2.weight": ((2, 64), 0.2), "score.2.bias": ((2,), 0.2)},
        lambda x, w: torch.relu(x @ w["score.0.weight"].T + w["score.0.bias"]) @ w["score.2.weight"].T + w["score.2.bias"],
        auto_map={"AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig", "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}),
    "skywork-prm": lambda name: own_head(
        name, lambda folder: qwen_tokenizer(folder, bos="<|endoftext|>"), 4, "Qwen2ForPrmModel", {"v_head.summary.weight": ((1, 64), 0.2), "v_head.summary.bias": ((1,), 0.2)},
        lambda x, w: x @ w["v_head.summary.weight"].T + w["v_head.summary.bias"]),
    "qwen3": lambda name: causal(
        name, Qwen3Config(**small(), head_dim=32, rope_parameters=rope(1e6)), Qwen3ForCausalLM, qwen_tokenizer, 5),
    "llama3": lambda name: causal(
        name, LlamaConfig(**small(), rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True, bos_token_id=360, eos_token_id=[361, 364]),
        LlamaForCausalLM, llama3_tokenizer, 6, old_style),
    "llama3-tokens": lambda name: token_classification(
        name, LlamaConfig(**small(), rope_parameters=LLAMA3_ROPE, num_labels=3), LlamaForTokenClassification, llama3_tokenizer, 7),
    "llama2": lambda name: causal(
        name, LlamaConfig(**{**small(), "num_key_value_heads": 4}, head_dim=8, rope_parameters=rope(1e4, "linear", factor=2.0)),
        LlamaForCausalLM, sentencepiece_tokenizer, 8),
    "smollm2": lambda name: causal(
        name, LlamaConfig(**small(), rope_parameters=rope(1e5), tie_word_embeddings=True), LlamaForCausalLM, smollm_tokenizer, 12),
    "smollm2-tokens": lambda name: token_classification(
        name, LlamaConfig(**small(), rope_parameters=rope(1e5), num_labels=2), LlamaForTokenClassification, smollm_tokenizer, 18),
    "mistral": lambda name: causal(
        name, MistralConfig(**small(), rope_parameters=rope(1e4), sliding_window=128), MistralForCausalLM, sentencepiece_tokenizer, 9,
        old_style),
    "math-shepherd": lambda name: causal(
        name, MistralConfig(**{**small(), "max_position_embeddings": 512}, rope_parameters=rope(1e4), sliding_window=512),
        MistralForCausalLM, lambda folder: sentencepiece_tokenizer(folder, MARKED[" ки"]), 16, old_style),
    "math-psa": lambda name: causal(
        name, Qwen2Config(**small(), rope_parameters=rope(1e4)), Qwen2ForCausalLM,
        lambda folder: qwen_tokenizer(folder, more=MARKED[" \n\n\n\n\n"]), 17),
    "internvl3": lambda name: internvl(name, Qwen2Config(**small(), rope_parameters=rope(1e6, "dynamic", factor=2.0)), 10),
    "internvl3_5": lambda name: internvl(
        name, Qwen3Config(**small(), head_dim=32, rope_parameters=rope(1e6), tie_word_embeddings=True), 11),
    "qwen2-vl": lambda name: qwen_vl(
        name, Qwen2VLForConditionalGeneration, Qwen2VLConfig,
        dict(depth=2, embed_dim=32, hidden_size=64, mlp_ratio=3, num_heads=2, patch_size=14),
        dict(**small(), rope_parameters=rope(1e6, mrope_section=[2, 3, 3]), tie_word_embeddings=True),
        dict(patch_size=14, min_pixels=3136, max_pixels=12845056), 13, True),
    "qwen2_5-vl": lambda name: qwen_vl(
        name, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig,
        dict(depth=2, hidden_size=32, intermediate_size=80, num_heads=2, patch_size=14, out_hidden_size=64, window_size=112,
             fullatt_block_indexes=[1]),
        dict(**small(), rope_parameters=rope(1e6, mrope_section=[2, 3, 3]), tie_word_embeddings=False),
        dict(patch_size=14, min_pixels=3136, max_pixels=12845056), 14, True),
    "qwen3-vl": lambda name: qwen_vl(
        name, Qwen3VLForConditionalGeneration, Qwen3VLConfig,
        dict(depth=3, hidden_size=32, intermediate_size=80, num_heads=2, patch_size=16, out_hidden_size=64, num_position_embeddings=25,
             deepstack_visual_indexes=[0, 2]),
        dict(**{**small(), "num_hidden_layers": 3}, head_dim=32, tie_word_embeddings=True,
             rope_parameters=rope(5e6, mrope_section=[6, 5, 5], mrope_interleaved=True)),
        dict(patch_size=16, size=dict(shortest_edge=4096, longest_edge=16777216)), 15, False),
}

torch.set_num_threads(1)
for name in sys.argv[2:] or MAKE:
    MAKE[name](name)
    print(name)
