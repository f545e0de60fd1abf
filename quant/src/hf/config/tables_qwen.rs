//! The keys of configurations of `Qwen2-VL`, `Qwen2.5-VL` and `Qwen3-VL`.
//!
//! From transformers 4.45 to 5 (`Qwen2VLConfig`, `Qwen2_5_VLConfig`, `Qwen3VLConfig` and their image processor). Older
//! configurations have the language model's keys beside those of the top level.

use super::tables::Table;

/// The top level; the classes are checked by the reader.
pub(super) const MODEL: Table = Table {
    read: &["architectures", "text_config", "tie_word_embeddings", "vision_config"],
    ignored: &["image_token_id", "video_token_id", "vision_end_token_id", "vision_start_token_id", "vision_token_id"],
    only: &[],
};

/// The vision tower.
pub(super) const VISION: Table = Table {
    read: &[
        "deepstack_visual_indexes",
        "depth",
        "embed_dim",
        "fullatt_block_indexes",
        "hidden_act",
        "hidden_size",
        "in_channels",
        "in_chans",
        "intermediate_size",
        "mlp_ratio",
        "num_heads",
        "num_position_embeddings",
        "out_hidden_size",
        "patch_size",
        "spatial_merge_size",
        "spatial_patch_size",
        "temporal_patch_size",
        "window_size",
    ],
    // Frames of a video have the latter two; an image is one frame.
    ignored: &["tie_word_embeddings", "tokens_per_second", "vocab_size"],
    only: &[
        ("architectures", &["[]"]),
        ("attention_bias", &[]),
        ("norm_type", &[]),
        ("rope_parameters", &["{\"rope_theta\": 10000.0, \"rope_type\": \"axial\"}"]),
    ],
};

/// The image processor.
pub(super) const PIXELS: Table = Table {
    read: &[
        "image_mean",
        "image_std",
        "max_pixels",
        "merge_size",
        "min_pixels",
        "patch_size",
        "size",
        "temporal_patch_size",
    ],
    ignored: &[
        "_valid_kwargs_names",
        "auto_map",
        "crop_size",
        "data_format",
        "default_to_square",
        "device",
        "disable_grouping",
        "feature_extractor_type",
        "image_processor_type",
        "image_seq_length",
        "input_data_format",
        "model_valid_processing_keys",
        "pad_size",
        "processor_class",
        "return_tensors",
    ],
    only: &[
        ("do_center_crop", &["false"]),
        ("do_convert_rgb", &["true"]),
        ("do_normalize", &["true"]),
        ("do_pad", &["false"]),
        ("do_rescale", &["true"]),
        ("do_resize", &["true"]),
        ("resample", &["3"]),
        ("rescale_factor", &["0.00392156862745098"]),
    ],
};
