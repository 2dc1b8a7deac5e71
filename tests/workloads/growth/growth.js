// Holds more and more, or not, as its first argument says, for as many ms as its second one says.
// What leaks is kept by `remember…`.
'use strict';

const [how, lasts] = [process.argv[2], Number(process.argv[3])];
const begun = Date.now();
const rows = [];
const buffers = [];
const recent = new Map();

function rememberRows(number) {
  for (let i = 0; i < 400; i++) {
    rows.push({ id: number, text: `row ${number} ${i}`, tags: [i, i + 1, i + 2] });
  }
}

function rememberBuffer(number) {
  buffers.push(Buffer.alloc(50000, number % 256));
}

function recall(number) {
  for (let i = 0; i < 400; i++) {
    recent.set(number * 400 + i, { text: `entry ${i}` });
    recent.delete(number * 400 + i - 4000);
  }
}

function render(number) {
  let text = '';
  for (let i = 0; i < 500; i++) text += `<td>${number + i}</td>`;
  return text.length;
}

function round(number) {
  if (Date.now() - begun >= lasts) return;
  if (how === 'array') rememberRows(number);
  else if (how === 'buffers') rememberBuffer(number);
  else if (how === 'bounded') recall(number);
  else if (how === 'garbage') render(number);
  else throw new Error('how');
  setTimeout(round, 10, number + 1);
}

round(0);
