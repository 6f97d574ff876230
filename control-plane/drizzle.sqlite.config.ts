import { defineConfig } from 'drizzle-kit';

// `pnpm --filter @edgeloop/control-plane migrations` writes a migration for each engine after a change of the schema.
export default defineConfig({
  dialect: 'sqlite',
  schema: './src/database/schema.sqlite.ts',
  out: './src/database/migrations/sqlite',
  casing: 'snake_case',
});
