// Check GLB or glTF files by the Khronos validator: node scripts/validate_gltf.mjs FILE...
// Needs `npm install gltf-validator` in the working directory. Exits with 1 on any error, warning or hint.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const validator = createRequire(join(process.cwd(), "any.js"))("gltf-validator");
const severities = ["error", "warning", "info", "hint"];

for (const file of process.argv.slice(2)) {
  const { issues, info, validatorVersion } = await validator.validateBytes(new Uint8Array(readFileSync(file)));
  for (const { severity, code, message, pointer } of issues.messages) {
    console.log(`${file}: ${severities[severity]} ${code} at ${pointer ?? "the file"}: ${message}`);
  }
  // Infos are about what a reader may ignore, such as triangles without area.
  const faults = issues.numErrors + issues.numWarnings + issues.numHints;
  if (faults > 0) process.exitCode = 1;
  const verdict = faults > 0 ? `${faults} faults` : "valid";
  console.log(`${file}: ${verdict}, ${info?.totalTriangleCount ?? 0} triangles (glTF validator ${validatorVersion})`);
}
