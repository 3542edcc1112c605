"""Write the README's table of settings anew from the code: `python .ci/settings-table.py`."""

from pathlib import Path

from proxy.settings import SETTINGS

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- settings -->\n", "<!-- /settings -->"
rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
for setting in SETTINGS:
    default = f"`{setting.default}`" if setting.default else ""
    rows.append(f"| `{setting.variable}` | {default} | {setting.help} |")
text = README.read_text()
before, after = text.split(START)[0], text.split(END)[1]
README.write_text(before + START + "\n".join(rows) + "\n" + END + after)
