// To be imported before any schema is made, by processes that check a value now and then: zod writes a program for each
// schema that is used, which pays for itself only where values come by the thousand.
import { config } from 'zod';

// In one process with what answers requests it is as there.
if (process.env.EDGELOOP_ISOLATION !== 'off') config({ jitless: true });
