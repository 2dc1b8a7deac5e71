// A service whose cache has no limit.
"use strict";

const cache = new Map();

function remember(key) {
  cache.set(key, Buffer.alloc(16 * 1024, 1));
}

let key = 0;
const timer = setInterval(() => {
  for (let at = 0; at < 20; at++) remember(key++);
  if (key >= 3000) clearInterval(timer);
}, 5);
