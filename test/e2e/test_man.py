# test_man.py - the man page against the tables that the library is built from, and the pages against the tests.
#
# Runs in: a process of its own. Reads sources, starts nothing.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import unittest

import shim

STRING = r'"((?:[^"\\]|\\.)*)"'


def read(path):
    with open(os.path.join(shim.ROOT, path)) as f:
        return f.read()


def rows(text, macro):
    """The arguments of each row of that macro: strings joined, other arguments as they are."""
    for call in re.finditer(r"^%s\((.*?)\)$" % macro, text, re.M | re.S):
        arguments, depth = [""], 0
        for token in re.finditer(STRING + r"|[(),]|[^\s\"(),]+", call.group(1)):
            if token.group(0) == "," and not depth:
                arguments.append("")
                continue
            depth += {"(": 1, ")": -1}.get(token.group(0), 0)
            arguments[-1] += token.group(0) if token.group(1) is None else token.group(1)
        yield arguments


def plain(roff):
    """The words of roff lines without the macros."""
    words = []
    for line in roff.splitlines():
        words += [w for w in line.split() if not re.fullmatch(r"\.It|\.?(Cm|Ns|Ar|Pa|Pq)|,", w)]
    return " ".join(words)


class ManPage(unittest.TestCase):
    def setUp(self):
        table = re.sub(r"/\*.*?\*/", "", read("http/endpoints/endpoints.def"), flags=re.S)
        self.parameters = list(rows(table, "PARAMETER"))
        self.endpoints = list(rows(table, "ENDPOINT"))
        self.section = read("man/pprofshim.7").split(".Sh ENDPOINTS\n")[1].split(".Sh ")[0]

    def test_it_lists_the_endpoints(self):
        listed = re.findall(r"^\.It Pa (\S+)", self.section, re.M)
        self.assertEqual(sorted(listed), sorted(e[0] or "/" for e in self.endpoints))

    def test_it_lists_the_parameters_and_says_of_each_what_the_index_page_says(self):
        listed = re.split(r"^(?=\.It Cm )", self.section, flags=re.M)[1:]
        self.assertEqual(len(listed), len(self.parameters))
        for item, (ident, name, unit, values, _, _, _, description) in zip(listed, self.parameters):
            takers = [e[0] for e in self.endpoints if "TAKES(%s)" % ident in e[4]]
            words = re.fullmatch(r"WORDS\((.*)\)", values)
            said = [name, "=", words.group(1) if words else "N"] + (["in", unit] if unit else [])
            with self.subTest(parameter=ident):
                self.assertTrue(takers)
                self.assertEqual(plain(item.split("\n.El")[0]), " ".join(said + takers + [description]))

    def test_it_and_the_readme_list_the_settings_with_their_presets(self):
        table = re.sub(r"/\*.*?\*/", "", read("shim/settings.def"), flags=re.S)
        settings = list(rows(table, "SETTING"))
        listed = re.findall(r"^\.It Ev (\w+)", read("man/pprofshim.7").split(".Sh ENVIRONMENT\n")[1].split(".Sh ")[0],
                            re.M)
        self.assertEqual(sorted(s[1] for s in settings), sorted(listed))
        presets = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]*?)`? \|", read("README.md"), re.M))
        for _, variable, kind, preset, *_ in settings:
            with self.subTest(setting=variable):
                self.assertIn(variable, read("README.md"))
                number = re.fullmatch(r"(\d+)(?:<<(\d+))?", preset)
                if kind != "TEXT":
                    unit = {None: "", "20": "M"}[number.group(2)]
                    self.assertEqual(number.group(1) + unit, presets[variable])


class TestPage(unittest.TestCase):

    def test_it_names_tests_that_exist(self):
        there = set()
        for folder, _, files in os.walk(os.path.join(shim.ROOT, "test")):
            for name in files:
                if re.fullmatch(r"test_\w+\.(c|py)", name):
                    there.update(re.findall(r"\btest_\w+", read(os.path.join(folder, name))), [name.split(".")[0]])
        named = re.findall(r"\btest_\w+", read("test/README.md"))
        self.assertGreater(len(named), 50)
        self.assertEqual([], [n for n in named if n not in there and n not in ("test_x", "test_handlers")])


if __name__ == "__main__":
    unittest.main()
