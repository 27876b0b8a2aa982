// The only file that knows what is in `env`.

const STRUCTURED = /^(SOURCE_|DESTINATION_)|^RXGATE$/;

/// The variables that are the configuration, and the secrets that it names.
export function environment(env) {
  const vars = {};
  const secrets = {};
  for (const [name, value] of Object.entries(env)) {
    if (STRUCTURED.test(name)) vars[name] = value;
    else if (typeof value === "string") secrets[name] = value;
  }
  return { vars, secrets };
}

/// The object of that name.
export const entityObject = (env, name) => env.ENTITIES.getByName(name);
