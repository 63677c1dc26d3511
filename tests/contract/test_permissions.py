"""There is one permission for each RPC, held by the roles that may call it: R000-002, R000-003, R003-008."""

from tools.permissions import TARGET, text


def test_a_new_rpc_and_a_changed_right_stand_in_the_list_of_permissions() -> None:
    assert TARGET.read_text("utf-8") == text(), "run make permissions and commit services/admin/permissions.csv"
