import { defineConfig } from 'vitest/config';
import { SkippedReporter } from './test/support/skipped-reporter.ts';

export default defineConfig({
  resolve: { conditions: ['@edgeloop/source'] },
  ssr: { resolve: { conditions: ['@edgeloop/source'], externalConditions: ['@edgeloop/source'] } },
  test: {
    include: [
      '{shared,agent,control-plane}/src/**/*.test.ts',
      'test/{scenarios,conformance,faults,browser,packaging,support,flakes,fuzz}/**/*.test.ts',
    ],
    // Children and worker threads run the sources too.
    env: { ORT_DISABLE_TELEMETRY: '1' },
    reporters: ['default', new SkippedReporter()],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
});
