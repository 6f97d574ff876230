// The version of this program, from its package.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const Package = z.object({ version: z.string().min(1) });

export const { version } = Package.parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')));
