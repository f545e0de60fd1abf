//! Step-level judging of multimodal mathematics on one workstation.
