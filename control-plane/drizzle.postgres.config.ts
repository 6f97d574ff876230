import { defineConfig } from 'drizzle-kit';

// `pnpm --filter @edgeloop/control-plane migrations` writes a migration for each engine after a change of the schema.
export default defineConfig({
  dialect: 'postgresql',
  schema: './src/database/schema.postgres.ts',
  out: './src/database/migrations/postgres',
  casing: 'snake_case',
});
