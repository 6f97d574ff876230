// An address that leads nowhere.
import { Empty, PageHead } from '../components/layout.tsx';

export function NotFoundPage() {
  return (
    <>
      <PageHead title="Not found" />
      <Empty title="There is no such page.">
        Go to the <a href="/">overview</a>, or use the navigation.
      </Empty>
    </>
  );
}
