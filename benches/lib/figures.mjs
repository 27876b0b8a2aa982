// Medians, spread and tables.

export const sorted = (list) => [...list].sort((a, b) => a - b);
export const median = (list) => sorted(list)[Math.floor(list.length / 2)];

/// The value below which such a share of them lies.
export const percentile = (ascending, share) => ascending[Math.min(ascending.length - 1, Math.ceil(ascending.length * share) - 1)];

/// Three figures.
export function figure(value) {
  if (value === undefined || Number.isNaN(value)) return "–";
  if (value >= 1000) return String(Math.round(value));
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/// The median, with the lowest and the highest.
export function spread(list, show = figure) {
  const ascending = sorted(list);
  return `${show(median(list))} (${show(ascending[0])}–${show(ascending.at(-1))})`;
}

export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")).replaceAll(" ", ""), ...rows.map(line)].join("\n");
}
