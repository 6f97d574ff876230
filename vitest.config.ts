import { defineConfig } from 'vitest/config';
import { childrenFromBuild } from './test/support/children-from-build.ts';
import { LongestFirst } from './test/support/longest-first.ts';
import { SkippedReporter } from './test/support/skipped-reporter.ts';

/** These start no threads or processes of ours that could outlive their file. */
const units = '{shared,control-plane,control-plane/dashboard}/src/**/*.test.ts';

export default defineConfig({
  resolve: { conditions: ['@edgeloop/source'] },
  ssr: { resolve: { conditions: ['@edgeloop/source'], externalConditions: ['@edgeloop/source'] } },
  plugins: [childrenFromBuild],
  test: {
    globalSetup: './test/support/build.ts',
    // Models are measured where a test asks for it.
    env: { ORT_DISABLE_TELEMETRY: '1', EDGELOOP_TUNE_SECONDS: '0' },
    sequence: { sequencer: LongestFirst },
    reporters: ['default', new SkippedReporter()],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'system',
          include: [
            'agent/src/**/*.test.ts',
            'test/{scenarios,conformance,faults,browser,packaging,simulation,support,flakes,fuzz}/**/*.test.ts',
          ],
        },
      },
      // To load every module anew for each of some hundred files takes longer than their tests.
      { extends: true, test: { name: 'units', include: [units], isolate: false } },
    ],
  },
});
