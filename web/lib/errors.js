// Errors cross from the worker as plain objects and are made whole again here.

/** An error with a name that code can test: `NoWebGPU`, `NoAdapter`, `DeviceLost`, `DownloadError`, … */
export function named(name, message) {
  const error = new Error(message);
  error.name = name;
  return error;
}

export const packed = (error) => ({
  name: error?.name ?? 'Error',
  message: String(error?.message ?? error),
});

export const unpacked = ({ name, message }) => named(name, message);
