// Lets the child processes and worker threads that a tested module starts run the build: to compile the sources anew in
// each of them takes longer than what most are started for.
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'vitest/config';

const ofProgram = /\/(?:shared|agent|control-plane)\/src\/.*(?<!\.test|-fixture)\.ts$/;

/** A module of the programs takes itself for the built one, and so finds its children, as it would in a package. */
export const childrenFromBuild: Plugin = {
  name: 'children-from-build',
  enforce: 'pre',
  transform(code, id) {
    if (!ofProgram.test(id) || !code.includes('import.meta.url')) return undefined;
    const built = id.replace(/\/src\/(.*)\.ts$/, '/dist/$1.js');
    return { code: code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(built).href)), map: null };
  },
};
