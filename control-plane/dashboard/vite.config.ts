// Builds the dashboard into the control plane's dist folder, from where it is served.
import { defaultClientConditions, defineConfig } from 'vite';

/** `vite build dashboard` from the control-plane package; `vite dashboard` serves it with the API of a local server. */
export default defineConfig({
  resolve: { conditions: ['@edgeloop/source', ...defaultClientConditions] },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../dist/dashboard',
    emptyOutDir: true,
    // The first with light-dark(), which the style sheets use.
    target: ['chrome123', 'firefox128', 'safari17.5'],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: { proxy: { '/api': 'http://127.0.0.1:7400' } },
});
