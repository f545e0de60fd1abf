#!/bin/sh
# Installs what building the Vulkan backend needs, and Mesa's software device (lavapipe) to run it without a GPU.
# Does nothing where all of it is there. On systems without apt it prints what to install.
set -eu

missing=""
[ -e /usr/include/vulkan/vulkan.hpp ] || missing="$missing libvulkan-dev"
[ -e /usr/include/spirv/unified1/spirv.hpp ] || missing="$missing spirv-headers"
command -v glslc >/dev/null 2>&1 || missing="$missing glslc"
ls /usr/share/vulkan/icd.d/lvp_icd.*.json >/dev/null 2>&1 || missing="$missing mesa-vulkan-drivers"
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: please install the Vulkan loader and headers, SPIR-V headers, glslc and Mesa's lavapipe, and try again." >&2
    exit 1
fi
run=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "setup: as root, run: apt-get install$missing" >&2; exit 1; }
    run="sudo"
fi
echo "setup: installing$missing"
$run apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
