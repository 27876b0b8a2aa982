// Values of samples: amounts that keep their digits, times that move along.

/// Amounts stand as text between « »: JSON.stringify would change their digits.
export const toJson = (value) => JSON.stringify(value).replaceAll(/"«(-?[\d.eE+-]+)»"/g, "$1");

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const LOCAL = /^(?!1900)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;

/// The same value with each instant in it moved as far as `from` is from `at`, in the form that it had.
export function shifted(value, from, at) {
  const by = at - Date.parse(from);
  return mapped(value, (text) => {
    if (INSTANT.test(text)) return moved(text, by, text.includes(".") ? 23 : 19, "Z");
    if (LOCAL.test(text)) return moved(`${text.replace(" ", "T")}Z`, by, 19, "").replace("T", " ");
    return text;
  });
}

const moved = (text, by, length, end) => new Date(Date.parse(text) + by).toISOString().slice(0, length) + end;

function mapped(value, change) {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapped(item, change));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, mapped(inner, change)]));
}
