"""Checks a report as a browser saw it: `check_report.py DOM.html SCREENSHOT.png`."""
import re
import sys
from html.parser import HTMLParser

from PIL import Image

PLOTS = {"slowdown", "trust", "latency", "throughput", "bytes", "accuracy", "gap"}
MARKS = {"circle", "rect", "path", "polygon", "line"}


class Report(HTMLParser):
    """Counts the marks inside the svg of each figure."""

    def __init__(self):
        super().__init__()
        self.figure, self.in_svg, self.marks, self.labels = None, False, {}, {}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "figure":
            self.figure = attributes.get("id")
            self.marks[self.figure] = self.labels[self.figure] = 0
        elif tag == "svg":
            self.in_svg = True
        elif self.in_svg and self.figure and tag in MARKS:
            self.marks[self.figure] += 1
        elif self.in_svg and self.figure and tag == "text":
            self.labels[self.figure] += 1

    def handle_endtag(self, tag):
        if tag == "figure":
            self.figure = None
        elif tag == "svg":
            self.in_svg = False


def faults(dom, image):
    report = Report()
    report.feed(dom)
    for plot in sorted(PLOTS - set(report.marks)):
        yield f"the plot '{plot}' is missing"
    for plot, marks in report.marks.items():
        if marks < 4 or report.labels[plot] < 4:
            yield f"the plot '{plot}' has {marks} marks and {report.labels[plot]} labels"
    for section in ("claims", "<table", "<h1", "Who must be trusted"):
        if section not in dom:
            yield f"'{section}' is missing"
    if re.search(r"\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", dom) or "<script" in dom:
        yield "the report is not self-contained"
    if "NaN" in dom or "undefined" in dom:
        yield "the report shows NaN or undefined"
    # A page that failed to render is one flat colour; plots bring several hues.
    colours = image.convert("RGB").quantize(64).convert("RGB").getcolors(1 << 20)
    hues = {(r // 32, g // 32, b // 32) for n, (r, g, b) in colours if max(r, g, b) - min(r, g, b) > 60}
    if len(hues) < 2:
        yield f"the screenshot shows {len(hues)} saturated colours: nothing was plotted"


def main():
    dom, image = open(sys.argv[1], encoding="utf-8").read(), Image.open(sys.argv[2])
    found = list(faults(dom, image))
    for fault in found:
        print(f"report: {fault}")
    if found:
        sys.exit(1)
    print(f"report: {len(PLOTS)} plots drawn, {image.width} x {image.height} pixels")


if __name__ == "__main__":
    main()
