// Validates objects of operators' kinds against the shapes of @kubernetes-models/*: types, required
// keys, and keys that no shape knows. Reads a JSON list on standard input; run beside node_modules.
//
// The shapes say nothing about unknown keys, which an API server drops or refuses. But a validator asks
// for each key that it knows, so a key that nobody asked for is one that it does not know.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const packages = {
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "keda.sh": "@kubernetes-models/keda",
  "postgresql.cnpg.io": "@kubernetes-models/cloudnative-pg",
};

const watched = (value, path, unasked) => {
  if (typeof value !== "object" || value === null) return value;
  const copy = Array.isArray(value) ? [] : {};
  for (const [key, inner] of Object.entries(value)) {
    const place = `${path}.${key}`;
    if (!Array.isArray(value)) unasked.add(place);
    copy[key] = watched(inner, place, unasked);
  }
  return new Proxy(copy, {
    get(target, key) {
      if (typeof key === "string") unasked.delete(`${path}.${key}`);
      return target[key];
    },
  });
};

let bad = 0;
const complain = (object, what) => {
  console.log(`${object.kind} ${object.metadata?.name}: ${what}`);
  bad = 1;
};

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const [group, version] = object.apiVersion.split("/");
  const place = `node_modules/${packages[group]}/${group}/${version}/${object.kind}.js`;
  const { [object.kind]: Shape } = await import(pathToFileURL(place));
  const unasked = new Set();
  const shaped = new Shape(object);
  for (const key of ["metadata", "spec"]) shaped[key] = watched(object[key], key, unasked);
  try {
    shaped.validate();
  } catch (error) {
    complain(object, error.message);
    continue;
  }
  for (const key of unasked) complain(object, `unknown key ${key}`);
}
process.exit(bad);
