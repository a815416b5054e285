// One choice's trace as a grid of segments (layers) by rows (tokens): what is committed, audited, failed.

const HEIGHT = 14; // pixels of a segment
const MOST = 400; // rows, beyond which several share a column

// Return the fraction of pixels that a column of rows takes, and draw.
export function draw(canvas, choice, failed) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const columns = Math.min(choice.rows, MOST);
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(1, canvas.clientWidth || 600);
  const count = choice.first_rows.length;
  const gap = 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(count * HEIGHT * scale);
  canvas.style.height = `${count * HEIGHT}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const across = width / columns;
  const at = (row) => Math.floor((row * columns) / choice.rows);
  const fill = (segment, first, last, name, most) => {
    pen.fillStyle = colour(name);
    const end = Math.max(at(first) + 1, at(last - 1) + 1);
    const space = across > 4 ? gap : 0;
    for (let column = at(first); column < end; column += 1) {
      pen.fillRect(column * across, segment * HEIGHT, Math.max(most, across - space), HEIGHT - gap);
    }
  };
  choice.first_rows.forEach((first, segment) => fill(segment, first, choice.rows, "--committed", 0));
  const cells = choice.audit === null ? [] : choice.audit.cells;
  // a replay computes every cell again
  if (choice.audit !== null && choice.audit.by === "replay" && choice.audit.level === "fully audited") {
    choice.first_rows.forEach((first, segment) => fill(segment, first, choice.rows, "--good", 0));
  }
  for (const [segment, first, last] of cells) fill(segment, first, last, "--good", 2);
  if (failed !== null) fill(failed[0], failed[1], failed[2], "--bad", 4);
}

// Say in words what the grid shows, for those who do not see it.
export function words(choice, failed) {
  const size = `${choice.first_rows.length} layers by ${choice.rows} tokens, ${choice.prompt_rows} of them the prompt's`;
  if (choice.audit === null) return `${size}. No cell was audited.`;
  if (choice.audit.by === "replay") {
    const end = choice.audit.level === "contradicted" ? "it is not what the model gives" : "it holds";
    return `${size}. The whole answer was computed again, and ${end}.`;
  }
  const where = failed === null ? "" : ` Layer ${failed[0]} failed at ${span(failed)}.`;
  return `${size}. ${choice.audit.cells.length} cells were audited.${where}`;
}

export function span([, first, last]) {
  return last - first === 1 ? `token ${first}` : `tokens ${first} to ${last - 1}`;
}
