// Where to begin in a map of attention: the head and the word in which there is something to see.

/** Words that most heads look at, or from, whatever the sentence says. */
const LITTLE = new Set(
  'a an the this that these those of in on at by to for from with as and or but if is are was were be been has have had do does did not no so than then there'.split(' '),
);
/** What stands for another word: it is a finding where such a word looks, but none that others look at it. */
const PRONOUNS = new Set('i you he she it we they me him her us them his its their my your our who which what'.split(' '));

/** For every token, its word if it is a whole one; null for parts of words, punctuation, `[CLS]` and `[SEP]`. */
export function wholeWords(tokens) {
  const lettered = tokens.map(({ special, text }) => !special && /[\p{L}\p{N}]/u.test(text));
  const goesOn = (at) => lettered[at] && lettered[at - 1] && !tokens[at].space_before && tokens[at].part === tokens[at - 1].part;
  return tokens.map(({ text }, at) => (lettered[at] && !goesOn(at) && !goesOn(at + 1) ? text.trim().toLowerCase() : null));
}

/**
 * The strongest look of a whole word at another that says something, where no other gets more of its attention and it
 * is no neighbour; where a text has none, the strongest look of any word. The result is `{ layer, head, from, to, share }`.
 */
export function found({ layers, heads, tokens, data }) {
  const side = tokens.length;
  const words = wholeWords(tokens);
  const telling = (i, j) =>
    words[j] && words[i] !== words[j] && Math.abs(i - j) > 1 && !LITTLE.has(words[i]) && !LITTLE.has(words[j]) && !PRONOUNS.has(words[j]);
  // From the best kind of finding to any at all.
  const kinds = [telling, (i, j) => words[j] && i !== j, () => true];
  const best = kinds.map(() => null);
  for (let map = 0; map < layers * heads; map++) {
    for (let i = 0; i < side; i++) {
      if (!words[i]) continue;
      const start = (map * side + i) * side;
      let to = 0;
      for (let j = 1; j < side; j++) if (data[start + j] > data[start + to]) to = j;
      const share = data[start + to];
      const kind = kinds.findIndex((fits) => fits(i, to));
      if (share > (best[kind]?.share ?? 0)) best[kind] = { layer: Math.floor(map / heads), head: map % heads, from: i, to, share };
    }
  }
  return best.find(Boolean) ?? { layer: 0, head: 0, from: Math.max(0, tokens.findIndex(({ special }) => !special)), to: 0, share: 0 };
}
