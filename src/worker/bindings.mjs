// The only file that knows what is in `env`.

const SETTING = /^(SOURCE_|DESTINATION_)|^RXGATE$/;
/// A structured variable, as against a binding: one under another name is a misspelt setting, and said to be.
const isStructured = (value) => Array.isArray(value) || Object.getPrototypeOf(Object(value)) === Object.prototype;

/// The variables that are the configuration, and the secrets that it names.
export function environment(env) {
  const vars = {};
  const secrets = {};
  for (const [name, value] of Object.entries(env)) {
    if (SETTING.test(name) || isStructured(value)) vars[name] = value;
    else if (typeof value === "string") secrets[name] = value;
  }
  return { vars, secrets };
}

/// The object of that name.
export const entityObject = (env, name) => env.ENTITIES.getByName(name);
