CREATE TABLE `malformed` (
	`device_id` text NOT NULL,
	`slot` integer NOT NULL,
	`number` integer NOT NULL,
	`at` integer NOT NULL,
	`channel` text NOT NULL,
	`reason` text NOT NULL,
	`bytes` integer NOT NULL,
	`head` blob NOT NULL,
	PRIMARY KEY(`device_id`, `slot`)
);
--> statement-breakpoint
CREATE INDEX `malformed_time` ON `malformed` (`at`);