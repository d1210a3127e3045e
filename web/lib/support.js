// Whether this browser can run WebGPU, and if not, how to turn it on in it.

function browser() {
  const ua = navigator.userAgent;
  const os = /Android/.test(ua) ? 'android' : /iPhone|iPad/.test(ua) ? 'ios' : /Mac OS/.test(ua) ? 'mac' : /Windows/.test(ua) ? 'windows' : 'linux';
  if (/Firefox\//.test(ua)) return ['firefox', os];
  if (/Edg\//.test(ua)) return ['edge', os];
  if (/Chrome\//.test(ua)) return ['chrome', os];
  if (/Safari\//.test(ua)) return ['safari', os];
  return ['other', os];
}

function advice(problem) {
  const [name, os] = browser();
  if (!globalThis.isSecureContext) {
    return ['WebGPU works only on pages served over https, or from localhost.', 'Open this page at an https:// address or at http://localhost.'];
  }
  if (name === 'chrome' || name === 'edge') {
    const scheme = name === 'edge' ? 'edge' : 'chrome';
    const steps = [
      `Open ${scheme}://gpu: the line “WebGPU” says what this browser makes of your graphics card.`,
      `In ${scheme}://settings/system, switch on “Use graphics acceleration when available” and restart the browser.`,
    ];
    if (os === 'linux') steps.push(`On Linux, enable ${scheme}://flags/#enable-unsafe-webgpu and ${scheme}://flags/#enable-vulkan, then restart.`);
    else if (problem === 'NoWebGPU') steps.push('Update the browser: version 113 or newer has WebGPU (121 or newer on Android).');
    else steps.push(`An old or blocked driver can be overruled with ${scheme}://flags/#enable-unsafe-webgpu.`);
    return steps;
  }
  if (name === 'firefox') {
    return [
      'Firefox has WebGPU on Windows since version 141 and on Macs with Apple chips since 145: update it.',
      'Elsewhere open about:config, set dom.webgpu.enabled to true and restart, or use Firefox Nightly.',
    ];
  }
  if (name === 'safari') {
    return os === 'ios'
      ? ['Safari has WebGPU since iOS 26.', 'Before that: Settings → Apps → Safari → Advanced → Feature Flags → WebGPU.']
      : ['Safari has WebGPU since version 26.', 'Before that: Safari → Settings → Advanced → “Show features for web developers”, then Feature Flags → WebGPU.'];
  }
  return ['Use a current Chrome, Edge, Firefox or Safari.'];
}

/** `{ ok: true }`, or what is missing and what to do about it in the browser at hand. */
export async function webgpuStatus() {
  const failed = (problem, title) => ({ ok: false, problem, title, steps: advice(problem) });
  if (!navigator.gpu) return failed('NoWebGPU', 'This browser does not offer WebGPU');
  let adapter = null;
  try {
    adapter = await navigator.gpu.requestAdapter();
  } catch {
    // The same to a person as none.
  }
  if (!adapter) return failed('NoAdapter', 'WebGPU is on, but found no graphics adapter');
  return { ok: true };
}
