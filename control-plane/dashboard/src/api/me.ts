// Who is looking, and what that key may do.
import { Me, type Role, roles } from '@edgeloop/shared/api/access';
import { useQuery } from './queries.ts';

/** Why the key may not do what needs `role`, for a button that is shown all the same; undefined when it may, or as long as nobody knows. */
export function useRefusal(role: Role, { otherThan }: { otherThan?: string | undefined } = {}): string | undefined {
  const me = useQuery(Me, '/me', []).data;
  if (me === undefined) return undefined;
  if (me.name === otherThan) return 'This needs another key than yours, which created it.';
  if (roles.indexOf(me.role) >= roles.indexOf(role)) return undefined;
  return `This needs the role ${role}; your key "${me.name.replace(/^key:/, '')}" has the role ${me.role}.`;
}
