#!/bin/sh
# Makes the images of docs/report.md from the outputs of `make demo`. Needs Chromium.
#   sh docs/report/make.sh [DIRECTORY_OF_OUTPUTS]
set -eu
cd "$(dirname "$0")/../.."
mmprm=${MMPRM:-target/release/mmprm}
run=${1:-demo/run}
browser=${BROWSER:-chromium}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$mmprm" report "$run/scored.json" "$run/trees" -o "$folder/page.html" --title "Best of 16 on mini-k12"
# Chromium draws nothing of a page that it has scrolled, so a copy has the problems at its top. The policy of the page would refuse
# the style.
sed -e 's|<meta http-equiv="Content-Security-Policy"[^>]*>||' \
    -e 's|</head>|<style>main > section:not(#problems), header > h1, .lead { display: none } .explorer #list { position: static }</style></head>|' \
    "$folder/page.html" >"$folder/problems.html"

# Name of the image, page, size of the window, address.
shot() {
    "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder/profile" \
        --virtual-time-budget=4000 --window-size="$3" --screenshot="$folder/$1.png" "file://$folder/$2.html#$4" 2>/dev/null
    mv "$folder/$1.png" "docs/report/$1.png"
}
shot light page 1280,1520 "theme=light"
shot dark problems 1280,1100 "theme=dark&problem=test-2-00046"
shot tree problems 1280,1100 "theme=light&filter=tree&problem=test-2-00007"
shot narrow problems 500,1100 "theme=light&problem=test-2-00009"
ls -l docs/report/*.png
