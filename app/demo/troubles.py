"""What goes wrong with a backup now and then, in the words of Duplicati."""

from __future__ import annotations

from random import Random

_PATHS = {
    "Windows": (
        "C:\\Users\\Claire\\AppData\\Local\\Microsoft\\Outlook\\archive.pst",
        "C:\\Users\\Tom\\ntuser.dat.LOG1",
        "D:\\Accounting\\2026\\ledger.mdb",
    ),
    "Linux": (
        "/var/lib/mysql/ib_logfile0",
        "/srv/share/.~lock.budget.ods#",
        "/var/log/journal/system.journal",
    ),
    "MacOS": (
        "/Users/tom/Library/Mail/V10/Envelope Index",
        "/Users/tom/Photos Library.photoslibrary/database",
    ),
}
_PROCESSING = (
    "Warning-Duplicati.Library.Main.Operation.Backup.FileBlockProcessor.FileEntry-PathProcessingFailed"
)
_ENUMERATION = "Warning-Duplicati.Library.Main.Operation.Backup.FileEnumerationProcess-FileAccessError"
_RETRY = "Warning-Duplicati.Library.Main.Backend.Handler-BackendManagerHandlerFailure"
_FATAL = "Error-Duplicati.Library.Main.Operation.BackupHandler-FatalError"

DISK_FULL = (
    "System.IO.IOException: No space left on device : "
    "'/mnt/backup/office-pc/duplicati-b7d1f0c94e6.dblock.zip.aes'"
)
FAILURES = (
    "System.IO.IOException: The network path was not found. : '\\\\nas-attic\\backup'",
    "Duplicati.Library.Interface.UserInformationException: The backup storage quota is exceeded: "
    "3.99 TB of 4.00 TB are used",
    "System.Net.Http.HttpRequestException: Connection timed out (backup.example.net:443)",
    "Duplicati.Library.Interface.RemoteListVerificationException: Found 2 files that are missing from the "
    "remote storage, please run repair",
    "Renci.SshNet.Common.SshAuthenticationException: Permission denied (publickey).",
)


def locked_files(chance: Random, system: str) -> tuple[str, ...]:
    """The lines of one to three files that could not be read."""
    lines = []
    for path in chance.sample(_PATHS[system], chance.randint(1, len(_PATHS[system]))):
        if system == "Windows":
            lines.append(
                f"[{_PROCESSING}]: Failed to process path: {path}\nSystem.IO.IOException: The process cannot "
                f"access the file '{path}' because it is being used by another process."
            )
        else:
            lines.append(
                f"[{_ENUMERATION}]: Error reported while accessing file: {path}\n"
                f"System.UnauthorizedAccessException: Access to the path '{path}' is denied."
            )
    return tuple(lines)


def failure_lines(exception: str) -> tuple[str, ...]:
    """What the log of a run says that ended with this exception."""
    return (
        f"[{_RETRY}]: Operation Put failed after 5 attempts\n{exception}",
        f"[{_FATAL}]: Fatal error\n{exception}",
    )


def stack_of(exception: str) -> str:
    return (
        f"{exception}\n   at Duplicati.Library.Main.Backend.BackendManager.Handler.ExecuteWithRetry()"
        "\n   at Duplicati.Library.Main.Operation.BackupHandler.RunAsync(String[] sources)"
        "\n   at Duplicati.Library.Main.Controller.RunAction[T](T result, Func`3 method)"
    )
