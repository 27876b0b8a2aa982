// What the tool says: results on stdout, words about them on stderr.

/// A mistake that the user can mend, told in one line and without a stack. `code` is the exit code: 2 for a wrong use, 1 for what came of a right one.
export class Mistake extends Error {
  constructor(message, code = 2) {
    super(message);
    this.name = "Mistake";
    this.code = code;
  }
}

const CODES = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 };

/// Colour only for a terminal, unless NO_COLOR or FORCE_COLOR says otherwise; NO_COLOR has the last word.
const coloured = (stream) => {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (NO_COLOR) return false;
  if (FORCE_COLOR) return FORCE_COLOR !== "0";
  return stream.isTTY === true && TERM !== "dumb";
};

/// The text in that colour, if stdout (or `stream`) has colours.
export const paint = (colour, text, stream = process.stdout) => (coloured(stream) ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : String(text));

export const print = (text = "") => process.stdout.write(`${text}\n`);
export const note = (text) => process.stderr.write(`${paint("dim", text, process.stderr)}\n`);

/// One JSON document.
export const printJson = (value) => print(JSON.stringify(value, null, 2));

/// Text of others in one line: no control characters, and not too much of it.
export function oneLine(text, most = 100) {
  const plain = text.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  return plain.length > most ? `${plain.slice(0, most)}…` : plain;
}

/// JSON with line ends and indents, and every number as it was written: parsing would change 375.00 to 375.
export function prettyJson(text) {
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|\{\s*\}|\[\s*\]|[{}[\],:]|[^\s{}[\],:"]+/gs)) {
    if (token.length > 1) out += /^[[{]/.test(token) ? token[0] + token.at(-1) : token;
    else if (token === "{" || token === "[") {
      depth += 1;
      out += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out += line() + token;
    } else if (token === ",") out += `,${line()}`;
    else if (token === ":") out += ": ";
    else out += token;
  }
  return out;
}
