/** Numbers with a shape, row-major. */
export class Tensor {
  constructor(data, dims) {
    this.data = data;
    this.dims = dims;
  }

  /** Nested lists, as deep as there are dimensions. */
  tolist() {
    const nest = (start, dims) => {
      const [count, ...rest] = dims;
      const stride = rest.reduce((product, size) => product * size, 1);
      if (rest.length === 0) return Array.from(this.data.subarray(start, start + count));
      return Array.from({ length: count }, (_, i) => nest(start + i * stride, rest));
    };
    return nest(0, this.dims);
  }
}
