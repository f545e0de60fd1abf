#!/bin/sh
# Remakes the models that the demo runs (models/policy-q8_0.gguf, models/prm-q8_0.gguf and their projectors): trains them from
# checkpoints/mini-mm-policy with the recipes in recipes/, then converts and quantises them. Called by `make models`. The steps are
# in train-models.sh.
exec sh "$(dirname "$0")/train-models.sh"
