// Which files of an installed agent this device never reads. The package of ONNX Runtime carries the libraries of every
// platform, and better-sqlite3 keeps what it was compiled from: two thirds of the tree.

export interface Device {
  /** As `process.platform` and `process.arch` name them. */
  platform: string;
  arch: string;
  /** Whether models may run on a GPU here; without it the libraries for that go. */
  keepGpu: boolean;
}

/** Files that go for one reason; paths from the package's folder, with slashes. */
interface DeadWeight {
  what: string;
  paths: string[];
}

type Decide = (paths: readonly string[], device: Device) => DeadWeight[];

/** The packages that carry dead weight; each function is given all files of its package. */
export const deadWeightOf: Record<'onnxruntime-node' | 'better-sqlite3', Decide> = {
  'onnxruntime-node': deadInOnnxRuntime,
  'better-sqlite3': deadInSqlite,
};

/** Nothing goes where the library for this device is missing: the package is not what this knows. */
function deadInOnnxRuntime(paths: readonly string[], { platform, arch, keepGpu }: Device): DeadWeight[] {
  const libraries = paths.flatMap((path) => {
    const [, ownPlatform, ownArch, name] = /^bin\/napi-v\d+\/([^/]+)\/([^/]+)\/(.+)$/.exec(path) ?? [];
    return name === undefined ? [] : [{ path, name, here: ownPlatform === platform && ownArch === arch }];
  });
  if (!libraries.some(({ name, here }) => here && name === 'onnxruntime_binding.node')) return [];
  const elsewhere = libraries.filter(({ here }) => !here);
  const gpu = keepGpu ? [] : libraries.filter(({ name, here }) => here && /^(lib)?onnxruntime_providers_/.test(name));
  return [
    { what: 'ONNX Runtime for other platforms', paths: elsewhere.map(({ path }) => path) },
    { what: 'GPU libraries of ONNX Runtime', paths: gpu.map(({ path }) => path) },
  ].filter(hasAny);
}

/** Sources and intermediate files are for compiling, which is done once the binary is there. */
function deadInSqlite(paths: readonly string[]): DeadWeight[] {
  const binary = 'build/Release/better_sqlite3.node';
  if (!paths.includes(binary)) return [];
  const dead = paths.filter((path) => path !== binary && /^(deps|src|build)\//.test(path));
  return [{ what: 'what better-sqlite3 was compiled from', paths: dead }].filter(hasAny);
}

function hasAny({ paths }: DeadWeight): boolean {
  return paths.length > 0;
}
