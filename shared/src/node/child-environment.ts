// What a child process is given of this process's environment: what a program and its native libraries need of the machine,
// and nothing that is secret. Everything else, join tokens and keys among it, stays here.

/** Whole names; the proxies and certificates of Node are not among them: children speak to nobody. */
const names = [
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'PWD', 'TMPDIR', 'TMP', 'TEMP', 'TZ', 'LANG', 'LANGUAGE'],
  ...['LD_LIBRARY_PATH', 'LD_PRELOAD', 'DYLD_LIBRARY_PATH', 'DYLD_FALLBACK_LIBRARY_PATH', 'DYLD_INSERT_LIBRARIES'],
  ...['NODE_OPTIONS', 'NODE_ENV', 'NODE_PATH', 'NODE_V8_COVERAGE', 'UV_THREADPOOL_SIZE', 'VITEST'],
  ...['SystemRoot', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME'],
];
/** Settings of the allocator, of ONNX Runtime, and of the libraries and drivers that it computes with. */
const beginnings = [
  ...['LC_', 'MALLOC_', 'ORT_', 'ONNXRUNTIME_', 'OMP_', 'GOMP_', 'KMP_', 'MKL_', 'DNNL_', 'OPENBLAS_', 'TBB_'],
  ...['CUDA_', 'CUDNN_', 'NVIDIA_', 'TENSORRT_', 'ROCR_', 'HIP_', 'HSA_', 'OPENVINO_', 'OPENCL_', 'OCL_', 'XNNPACK_'],
];

/** The part of `environment` that a child may have. */
export function childEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const allowed = (name: string) => names.includes(name) || beginnings.some((start) => name.startsWith(start));
  return Object.fromEntries(Object.entries(environment).filter(([name]) => allowed(name)));
}
