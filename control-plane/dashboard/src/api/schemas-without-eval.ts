// Imported before any schema is made: schemas would compile themselves to functions from text, which the content
// security policy of a careful server forbids.
import { z } from 'zod';

z.config({ jitless: true });
