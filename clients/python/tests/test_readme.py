"""The code that the README prints, as it is printed there."""

import unittest
from pathlib import Path

import mfad_client

from support import PASSWORD, SOCKET, Case, Phone

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks():
    """The Python of the README, as one module."""
    parts = README.read_text(encoding="utf-8").split("\n```python\n")[1:]
    return "\n".join(part.split("\n```\n")[0] for part in parts)


class Readme(Case):
    def test_the_login_and_the_check_of_a_token_work_as_printed(self):
        module = {"__name__": "readme"}
        exec(compile(blocks(), README.name, "exec"), module)
        client = mfad_client.Client(SOCKET)
        user = client.create_user("py-readme", PASSWORD)
        self.addCleanup(client.delete_user, user.user_id, reason="the test ends")
        session = client.log_in("py-readme", PASSWORD)
        with self.assertRaises(mfad_client.TokenError):
            module["user_of"](session.token)
        pending = client.enroll(session, "phone")
        phone = Phone(pending.seed)
        client.activate(session, pending.secret_id, phone.code())
        said = []

        def ask(hint):
            said.append(hint)
            return phone.wrong() if len(said) == 1 else phone.code()

        session = module["log_in"]("py-readme", PASSWORD, ask)

        self.assertEqual(said, ["your code, please", "that was not it, once more"])
        self.assertEqual(module["user_of"](session.token), user.user_id)
        self.assertIsNone(module["log_in"]("py-readme", "another password", ask))

    def test_every_public_name_and_method_is_in_the_readme(self):
        text = README.read_text(encoding="utf-8")
        for name in vars(mfad_client.Client):
            if not name.startswith("_"):
                self.assertIn(f"`{name}`", text, name)


if __name__ == "__main__":
    unittest.main()
