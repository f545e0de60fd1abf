#!/bin/sh
# Makes the images of docs/report.md from the outputs of `make demo`. Needs Chromium; ImageMagick or pngquant is not needed.
#   sh docs/report/make.sh [DIRECTORY_OF_OUTPUTS]
set -eu
cd "$(dirname "$0")/../.."
mmprm=${MMPRM:-target/release/mmprm}
run=${1:-demo/run}
browser=${BROWSER:-chromium}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$mmprm" report "$run/scored.json" "$run/trees" -o "$folder/report.html" --title "Best of 16 on mini-k12"

# Name of the image, size of the window, what is shown.
shot() {
    "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder/profile" \
        --virtual-time-budget=4000 --window-size="$2" --screenshot="$folder/$1.png" "file://$folder/report.html#$3" 2>/dev/null
    mv "$folder/$1.png" "docs/report/$1.png"
}
shot light 1280,1500 "theme=light"
shot dark 1280,1100 "theme=dark&problem=test-2-00001"
shot tree 1280,1100 "theme=light&filter=tree&problem=test-2-00006"
shot narrow 500,1000 "theme=light&problem=test-2-00001"
ls -l docs/report/*.png
