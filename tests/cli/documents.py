# SPDX-License-Identifier: Apache-2.0
"""Code blocks and command lines of Markdown texts."""
import os
import re

import harness


def read(name):
    with open(os.path.join(harness.SOURCE, name), encoding="utf-8") as f:
        return f.read()


def section(text, title):
    """What stands below the heading of that title, up to the next of its level."""
    start = re.search(r"^(#+) %s$" % re.escape(title), text, re.M)
    rest = text[start.end():]
    end = re.search(r"^#{1,%d} " % len(start.group(1)), rest, re.M)
    return rest[:end.start()] if end else rest


def blocks(text):
    """(kind, lines) of every code block: 'indented', or what stands behind the fence ('' where nothing does)."""
    found, lines, fence, before = [], [], None, ""
    for line in text.splitlines() + [""]:
        if line.startswith("```"):
            if fence is None:
                fence, lines = line[3:].strip(), []
            else:
                found.append((fence, lines))
                fence, lines = None, []
        elif fence is not None:
            lines.append(line)
        elif line.startswith("    ") and (lines or not before.strip()):
            lines.append(line[4:])
        elif lines:
            found.append(("indented", lines))
            lines = []
        before = line
    return found


def command_of(line):
    """Without the comment at its end."""
    return re.sub(r"\s+# .*$", "", line).strip()
