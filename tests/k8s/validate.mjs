// Reads a JSON list of resources on standard input and validates those of the Prometheus operator
// against the schemas of its own CRDs. Prints what was validated; exits 1 with the errors.
import { readFileSync } from "node:fs";
import * as v1 from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const resources = JSON.parse(readFileSync(0, "utf8"));
let failed = false;
for (const resource of resources) {
  if (resource.apiVersion !== "monitoring.coreos.com/v1") continue;
  const name = `${resource.kind} ${resource.metadata.name}`;
  try {
    new v1[resource.kind](resource).validate();
    console.log(name);
  } catch (error) {
    failed = true;
    console.error(`${name}: ${error.message}`);
  }
}
process.exit(failed ? 1 : 0);
