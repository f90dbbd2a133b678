// Run tests/browser/checks.py in Pyodide, CPython as WebAssembly: the Python that a browser has.
//
//     node tests/browser/run.mjs
//
// The packages are copied into Pyodide's own file system, as a page would load them: nothing is installed, and nothing
// is downloaded. Standard output is the report as JSON; the exit status is 1 if anything in it failed.
// PYODIDE names the folder of the npm package, if it is not in node_modules beside this file.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const home = process.env.PYODIDE ?? join(here, "node_modules", "pyodide");
const { loadPyodide } = await import(pathToFileURL(join(home, "pyodide.mjs")).href);

// What the packages are made of: modules, and the files that modules read.
function* files(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) {
      if (name !== "__pycache__") yield* files(path);
    } else {
      yield path;
    }
  }
}

const python = await loadPyodide({ stdout: console.error, stderr: console.error });
python.FS.mkdirTree("/chainrule/work");
const sources = [...files(join(root, "autodiff")), ...files(join(root, "nn")), join(here, "checks.py")];
for (const path of sources) {
  const copy = "/chainrule/" + (path.startsWith(here) ? "checks.py" : relative(root, path));
  python.FS.mkdirTree(dirname(copy));
  python.FS.writeFile(copy, readFileSync(path));
}

let report;
try {
  python.runPython(`
import os, sys
sys.path.insert(0, "/chainrule")
os.chdir("/chainrule/work")
`);
  report = JSON.parse(python.runPython("import checks; checks.main()"));
} catch (error) {
  console.error(error.message); // the whole error is all of Pyodide's source
  process.exit(1);
}
report.pyodide = python.version;
console.log(JSON.stringify(report, null, 2));
console.error(
  `Pyodide ${report.pyodide}, Python ${report.python}: ${report.examples} examples and ${report.checks} checks ran, ` +
    `${Object.keys(report["left out"]).length} examples lack a package, ${report.failed.length} failures`,
);
process.exit(report.failed.length ? 1 : 0);
