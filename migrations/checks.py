"""Another condition for a CHECK, on both databases."""

from alembic import op


def replace_check(table: str, check: str, old: str, new: str) -> None:
    """Put the condition `new` in place of `old` into the constraint `check` of `table`.

    SQLite can't change a CHECK, and Alembic's batch would lose the conditions of the table's partial indexes. So the
    table is made anew by its own statement with the other condition, and its indexes by theirs: whatever columns and
    indexes it has by now, it keeps. `core.migrations` has foreign keys off meanwhile and checks them at the end, or
    dropping the table would take along what hangs on it.

    Raises LookupError where the table does not have the old condition exactly once.
    """
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.drop_constraint(op.f(check), table, type_="check")
        op.create_check_constraint(op.f(check), table, new)
        return
    made_by = f"SELECT sql FROM sqlite_master WHERE tbl_name = '{table}' AND type = '{{}}' AND sql IS NOT NULL"
    (statement,) = connection.exec_driver_sql(made_by.format("table")).scalars()
    indexes = connection.exec_driver_sql(made_by.format("index")).scalars().all()
    if statement.count(f"({old})") != 1:
        raise LookupError(f"the table {table} has no CHECK ({old})")
    op.execute(f"CREATE TEMPORARY TABLE kept_{table} AS SELECT * FROM {table}")
    op.execute(f"DROP TABLE {table}")
    connection.exec_driver_sql(statement.replace(f"({old})", f"({new})"))
    op.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
    for index in indexes:
        connection.exec_driver_sql(index)
    op.execute(f"DROP TABLE kept_{table}")
