//! Errors of the data folder.

http_messages::error_table! {
    /// Errors of the data folder, in the order of `docs/errors/start.md`.
    #[cfg(test)]
    pub(crate) DATA;

    FOLDER = {
        code: "data-folder",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"cannot create the data folder ...\"; \"cannot open the documents folder ...\".",
        why: "The cause is the error of the operating system: missing permission, a file with this name, a full disk.",
        action: "Remove the cause, or name another folder with `--data-dir`.",
    }

    TEMPORARY_FOLDER = {
        code: "data-temporary-folder",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"cannot create a temporary folder\".",
        why: "`--ephemeral` needs a temporary folder, and the folder for temporary files is full or not writable.",
        action: "Set `TMPDIR`, or name a folder with `--data-dir`.",
    }

    READABLE_BY_OTHERS = {
        code: "data-readable-by-others",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"other users of this machine can read the data folder ...\".",
        why: "It contains keys and data, and files of other users, or its mode cannot be changed.",
        action: "Run `chmod 700`, or name another folder.",
    }

    IN_USE = {
        code: "data-in-use",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"the data directory ... is in use by ...\"; \"the documents folder ... is in use\".",
        why: "Two processes must not write the same files; usually another `chappe` runs the same app.",
        action: "Stop that process, or give this one its own `--data-dir`.",
    }

    NEWER_FORMAT = {
        code: "data-newer-format",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"... has on-disk format N, and this version supports formats up to M\".",
        why: "A newer version wrote it, and an older version would damage it.",
        action: "Start the newer version, or use another folder.",
    }

    NOT_A_DATA_FOLDER = {
        code: "data-not-a-data-folder",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"the directory ... has no valid 'format' file\".",
        why: "The folder contains other files, which are not overwritten, or is damaged.",
        action: "Name an empty or new folder.",
    }

    PERMISSION = {
        code: "data-permission",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"no permission to read and write ...\"; \"... is on a read-only file system\".",
        why: "The operating system denies access.",
        action: "Change the owner or mode, remount the file system, or name another folder.",
    }

    NO_SPACE = {
        code: "data-no-space",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"no space left for ...\".",
        why: "The disk is full.",
        action: "Free disk space, or name another folder.",
    }

    PART_MISSING = {
        code: "data-part-missing",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"the data folder ... lacks a part that it had\"; \"... is missing from a data directory that was used before\". Nothing was changed, and the part is not created again.",
        why: "It was removed, or another folder was mounted in its place.",
        action: "Restore a [backup](../backup.md); or accept the loss with `--accept-loss`, as the text says.",
    }

    MIXED = {
        code: "data-mixed",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"... of the data folder ... are of another data folder\"; \"the file ... belongs to another data folder\".",
        why: "The files of two folders were mixed: an incomplete restore, or a copy by hand.",
        action: "Put back the files that belong together.",
    }

    LOST_END = {
        code: "data-lost-end",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"the journal in ... lost its end\"; \"cannot prove that ... holds all acknowledged data\".",
        why: "Acknowledged records are missing at the end, or the mark with the last acknowledged position is missing: a failing disk, or files that were truncated or removed.",
        action: "Restore a [backup](../backup.md), or continue with the remaining data: `--accept-loss`.",
    }

    DAMAGED = {
        code: "data-damaged",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"the journal file ... is damaged at byte ...\"; \"the documents database is damaged\"; `chappe check --data` reports a file.",
        why: "Durable data is damaged. This is more than a torn write after a crash, which is repaired without a message: a failing disk, or another program wrote to the file.",
        action: "Restore a [backup](../backup.md), or continue without the data: `--accept-loss`.",
    }

    DATABASE = {
        code: "data-database",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"cannot open the database ...\"; \"cannot open the documents database ...\".",
        why: "SQLite cannot use the file; the cause is its message.",
        action: "Remove the cause.",
    }

    INPUT_OUTPUT = {
        code: "data-input-output",
        statuses: [],
        fault: Service,
        retry: Later,
        happened: "\"cannot read or write ...\"; \"cannot open the data directory ...\".",
        why: "The cause is the error of the operating system.",
        action: "Remove the cause, or name another folder with `--data-dir`.",
    }

    MANIFEST = {
        code: "data-manifest",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"cannot read or write .../manifest.json\".",
        why: "The list of the parts cannot be used: missing permission, a full disk, or it was edited.",
        action: "Remove the cause; restore the file from a backup.",
    }

    KEYS_FILE = {
        code: "data-keys-file",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"cannot read or write the keys in ...\".",
        why: "`keys.json` cannot be read or written. Other machines can connect, so generated keys are needed.",
        action: "Correct its mode, or configure keys.",
    }

    KEYS_CONTENT = {
        code: "data-keys-content",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"... does not contain keys\".",
        why: "`keys.json` was edited or damaged.",
        action: "Restore it from a backup; or remove it and start with `--accept-loss=keys`: new keys are generated, and connection strings in use become invalid.",
    }

    REALTIME_STATE = {
        code: "data-realtime-state",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"restore the groups of users\"; \"read the message history of the realtime service\"; \"read the connection records of an earlier process\"; stored keys cannot be used.",
        why: "The records in the data folder cannot be read; the cause says why.",
        action: "Run `chappe check --data`; restore a [backup](../backup.md).",
    }

    BACKUP_TARGET = {
        code: "backup-target-exists",
        statuses: [],
        fault: Operator,
        retry: AfterChange,
        happened: "\"... exists; name a folder that does not exist\".",
        why: "`chappe backup` never overwrites a folder.",
        action: "Name another folder.",
    }

    BACKUP_FAILED = {
        code: "backup-failed",
        statuses: [],
        fault: Service,
        retry: AfterChange,
        happened: "\"back up ...\"; \"copy ...\"; \"the copy is not complete\". `chappe backup` ends with code 1 and leaves no copy.",
        why: "The data folder is damaged or incomplete, or the copy cannot be written; the causes say which.",
        action: "Run `chappe check --data`; free disk space.",
    }
}
