"""``fedseal db``: the schema of a party's database. Only ``upgrade`` ever changes it."""

from fedseal_cli.commands import JsonOption, command, noun
from fedseal_cli.local_options import PartyArgument
from fedseal_cli.output import print_fields, print_json, say

app = noun("db", "The schema of a party's database.", example="fedseal db status cleveland")


@command(app, "status", example="fedseal db status cleveland")
def status(folder: PartyArgument, as_json: JsonOption = False) -> None:
    """Show which schema a party's database has and which one this version needs."""
    from fedseal.folders import PartyFolder
    from fedseal.local import existing_database_url
    from fedseal_governance.database import Database
    from fedseal_migrations import current_revision, needed_revision

    database = Database(existing_database_url(PartyFolder.load(folder)))
    try:
        have, need = current_revision(database.engine), needed_revision()
    finally:
        database.close()
    if as_json:
        print_json({"database": database.shown_url, "schema": have, "needed": need, "current": have == need})
        return
    print_fields({"Database": database.shown_url, "Schema": have or "none", "Needed": need})
    if have != need:
        say(f"Back the database up, then run: fedseal db upgrade {folder}")


@command(app, "upgrade", example="fedseal db upgrade cleveland")
def upgrade(folder: PartyArgument, as_json: JsonOption = False) -> None:
    """Bring a party's database to the schema of this version; back it up first."""
    import fedseal_migrations
    from fedseal.folders import PartyFolder
    from fedseal.local import database_url, record_key_bytes
    from fedseal_governance.database import Database

    party = PartyFolder.load(folder)
    database = Database(database_url(party))
    try:
        fedseal_migrations.upgrade(database.engine, record_key=record_key_bytes(party))
        have = fedseal_migrations.needed_revision()
    finally:
        database.close()
    if as_json:
        print_json({"database": database.shown_url, "schema": have})
        return
    say(f"{database.shown_url} has the current schema ({have}).")
