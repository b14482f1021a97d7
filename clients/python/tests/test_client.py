"""The client against the real daemon, and against sockets that misbehave."""

import json
import unittest

import mfad_client
from mfad_client import Challenge, Client, NoAnswer, Refused, Session, TokenError, TokenVerifier, Unexpected, Unreachable

from support import PASSWORD, SOCKET, Case, Phone, answer, hang_up, lose_answer, pass_on

BUSY = json.dumps({"status": 503, "code": "busy", "detail": "too much to do", "retryAfter": 1}).encode()


class Person:
    """A user with a phone."""

    def __init__(self, client, name):
        self.name = name
        self.user = client.create_user(name, PASSWORD, email=f"{name}@example.org", display_name=name.title())
        session = client.log_in(name, PASSWORD)
        pending = client.enroll(session, "phone", qr="svg")
        self.pending = pending
        self.phone = Phone(pending.seed)
        self.enrollment = client.activate(session, pending.secret_id, self.phone.code())
        self.session = self.enrollment.session


class WithDaemon(Case):
    def setUp(self):
        self.client = Client(SOCKET)

    def person(self, name):
        person = Person(self.client, name)
        self.addCleanup(self.client.delete_user, person.user.user_id, reason="the test ends")
        return person

    def refused(self, code, work, *arguments, **more):
        with self.assertRaises(Refused) as caught:
            work(*arguments, **more)
        self.assertEqual(caught.exception.code, code)
        return caught.exception

    def test_a_user_enrols_and_the_session_goes_on(self):
        person = self.person("py-enrol")

        self.assertTrue(person.pending.qr.startswith("<svg") or "<svg" in person.pending.qr)
        self.assertEqual(len(person.enrollment.backup_codes), 10)
        me = self.client.user(person.session)
        self.assertEqual((me.name, me.mfa, me.lock.state), ("py-enrol", "active", "none"))
        self.assertEqual(self.client.user(person.user.user_id).email, "py-enrol@example.org")
        self.assertIn(person.user.user_id, [user.user_id for user in self.client.users()])
        self.assertEqual(self.client.user_named("PY-Enrol").user_id, person.user.user_id)
        self.assertIsNone(self.client.user_named("py enrol & more"))

    def test_a_login_takes_two_steps(self):
        person = self.person("py-login")

        self.refused("wrong-credentials", self.client.log_in, "py-login", "another password")
        challenge = self.client.log_in("py-login", PASSWORD)
        self.assertIsInstance(challenge, Challenge)
        self.assertEqual(set(challenge.methods), {"totp", "recovery"})
        refusal = self.refused("wrong-code", self.client.answer, challenge, person.phone.wrong())
        self.assertEqual(refusal.remaining, 4)
        code = person.phone.code()
        session = self.client.answer(challenge, f"{code[:3]} {code[3:]}")
        self.assertIsInstance(session, Session)
        renewed = self.client.refresh(session)
        self.client.log_out(renewed)
        self.refused("unauthenticated", self.client.user, renewed)

    def test_a_backup_code_stands_in_for_the_phone(self):
        person = self.person("py-recover")

        challenge = self.client.log_in("py-recover", PASSWORD)
        session = self.client.answer(challenge, person.enrollment.backup_codes[0].lower())

        self.assertEqual(session.remaining, 9)
        lost = next(secret for secret in self.client.secrets(session) if secret.name == "phone")
        self.client.delete_secret(session, lost.secret_id)
        self.assertIsInstance(self.client.log_in("py-recover", PASSWORD), Session)

    def test_only_a_wrong_code_is_false(self):
        person = self.person("py-verify")
        code = person.phone.code()

        self.assertIs(self.client.verify(person.user.user_id, code), True)
        self.assertIs(self.client.verify(person.user.user_id, code), False)
        self.refused("malformed", self.client.verify, person.user.user_id, "12")
        for _ in range(8):
            try:
                self.client.verify(person.user.user_id, person.phone.wrong())
            except Refused as refused:
                self.assertEqual((refused.code, refused.retry_after is not None), ("too-many-attempts", True))
                break
        else:
            self.fail("no delay came")
        self.client.unlock(person.user.user_id, reason="the test tried wrong codes")

    def test_an_action_is_confirmed_and_carried_out_once(self):
        person = self.person("py-stepup")
        action = "pay 100 EUR to Bob"

        fresh = self.client.step_up(person.session, person.phone.code(), action)
        confirmed = self.client.redeem(fresh.receipt, action)

        self.assertEqual((confirmed.user_id, "mfa" in confirmed.amr), (person.user.user_id, True))
        self.refused("receipt-refused", self.client.redeem, fresh.receipt, action)

    def test_a_password_is_changed_and_backup_codes_are_renewed(self):
        person = self.person("py-password")
        codes = self.client.renew_backup_codes(person.session)
        self.assertEqual(len(set(codes) - set(person.enrollment.backup_codes)), 10)

        session = self.client.answer(self.client.log_in("py-password", PASSWORD), codes[0])
        self.client.change_password(session, PASSWORD, "another password 1")

        self.refused("wrong-credentials", self.client.log_in, "py-password", PASSWORD)
        self.assertIsInstance(self.client.log_in("py-password", "another password 1"), Challenge)

    def test_a_token_is_checked_without_the_daemon(self):
        person = self.person("py-token")
        verifier = TokenVerifier(self.client)

        claims = verifier.claims(person.session.token)

        self.assertEqual((claims.user_id, "mfa" in claims.amr), (person.user.user_id, True))
        challenge = self.client.log_in("py-token", PASSWORD)
        head, body, signature = person.session.token.split(".")
        # The first symbol: the last byte of one signature in sixteen is 0 anyway.
        other = ("B" if signature[0] == "A" else "A") + signature[1:]
        wrong = [challenge.token, f"{head}.{body}", f"{head}.{body}.", f"{head}.{body}.{other}", "", "a.b.c", "é.é.é"]
        for token in wrong:
            with self.assertRaises(TokenError, msg=token):
                verifier.claims(token)
        with self.assertRaisesRegex(TokenError, "expired"):
            TokenVerifier(self.client, now=lambda: claims.expires).claims(person.session.token)
        with self.assertRaisesRegex(TokenError, "another daemon"):
            TokenVerifier(self.client, issuer="another").claims(person.session.token)

    def test_the_keys_are_fetched_once_and_not_for_each_unknown_key(self):
        person = self.person("py-keys")
        listener = self.listen(pass_on, pass_on)
        time = [100.0]
        verifier = TokenVerifier(Client(listener.path), clock=lambda: time[0])
        unknown = "eyJhbGciOiJFZERTQSIsImtpZCI6Im5vYm9keSIsInR5cCI6IkFDQ0VTUyJ9.e30.AA"

        for _ in range(3):
            verifier.claims(person.session.token)
            with self.assertRaises(TokenError):
                verifier.claims(unknown)
        self.assertEqual(len(listener.requests), 1)
        time[0] += 11
        with self.assertRaises(TokenError):
            verifier.claims(unknown)
        self.assertEqual(len(listener.requests), 2)

    def test_a_lost_answer_is_asked_for_again_and_the_code_is_used_once(self):
        person = self.person("py-lost")
        listener = self.listen(lose_answer, pass_on)

        right = Client(listener.path).verify(person.user.user_id, person.phone.code())

        self.assertIs(right, True)
        keys = [line for request in listener.requests for line in request.split(b"\r\n") if b"idempotency" in line.lower()]
        self.assertEqual((len(keys), len(set(keys))), (2, 1))

    def test_a_wrong_code_after_a_lost_answer_is_no_verdict(self):
        wrong = json.dumps({"code": "wrong-code"}).encode()
        listener = self.listen(hang_up, answer(401, wrong), answer(401, wrong))
        client = Client(listener.path)

        with self.assertRaises(NoAnswer):
            client.verify("a", "123456")
        self.assertIs(client.verify("a", "123456"), False)

    def test_a_delete_whose_answer_was_lost_is_not_sent_again(self):
        user = self.client.create_user("py-delete")
        listener = self.listen(lose_answer, pass_on)

        with self.assertRaises(NoAnswer):
            Client(listener.path).delete_user(user.user_id, reason="the test ends")

        self.assertEqual(len(listener.requests), 1)

    def test_an_id_cannot_leave_its_place_in_the_path(self):
        self.refused("not-found", self.client.user, "x/../../audit")
        self.assertIs(self.client.verify("../users", "123456"), False)
        for wrong in ("", ".", ".."):
            with self.assertRaises(ValueError):
                self.client.user(wrong)


class WithoutDaemon(Case):
    def waits(self):
        """A clock that runs only while the client sleeps, and what it slept."""
        slept = []
        return slept, {"clock": lambda: sum(slept), "sleep": slept.append}

    def test_a_busy_daemon_is_asked_again_as_it_says(self):
        listener = self.listen(answer(503, BUSY), answer(503, BUSY), answer(200, b'{"keys": []}'))
        slept, clock = self.waits()

        value = Client(listener.path, **clock).request("GET", "/.well-known/jwks.json")

        self.assertEqual((value, slept), ({"keys": []}, [1.0, 1.0]))

    def test_patience_ends(self):
        listener = self.listen(*[answer(503, BUSY)] * 3)
        slept, clock = self.waits()

        with self.assertRaises(Refused) as caught:
            Client(listener.path, patience=2, **clock).request("GET", "/auth")

        self.assertEqual((caught.exception.code, caught.exception.retry_after, sum(slept)), ("busy", 1, 2.0))

    def test_what_will_not_pass_is_not_asked_again(self):
        for status, code in ((503, "storage-damaged"), (500, "internal"), (429, "too-many-attempts"), (409, "idempotency-conflict")):
            listener = self.listen(answer(status, json.dumps({"code": code, "retryAfter": 1}).encode()))

            with self.assertRaises(Refused) as caught:
                Client(listener.path).request("POST", "/auth/logout", {})

            self.assertEqual((caught.exception.status, caught.exception.code), (status, code))

    def test_a_daemon_that_is_not_there_is_waited_for(self):
        slept, clock = self.waits()

        with self.assertRaisesRegex(Unreachable, "/nowhere/mfad.sock"):
            Client("/nowhere/mfad.sock", patience=1, **clock).request("GET", "/auth")

        self.assertGreater(sum(slept), 0.8)
        self.assertFalse(Client("/nowhere/mfad.sock").ready())

    def test_an_answer_that_does_not_come_is_not_asked_for_again(self):
        held = []
        listener = self.listen(lambda connection: held.append(connection.recv(1)))

        with self.assertRaisesRegex(NoAnswer, "in time"):
            Client(listener.path, timeout=0.2).request("GET", "/auth")

        self.assertEqual(len(listener.requests), 1)

    def test_a_broken_answer_is_an_error_that_does_not_quote_it(self):
        for body in (b"hunter2", b'{"token": "hunter2"', b"[]"):
            listener = self.listen(answer(200, body))

            with self.assertRaises(Unexpected) as caught:
                Client(listener.path).log_in("a", "b")

            self.assertNotIn("hunter2", str(caught.exception) + str(caught.exception.__cause__))

    def test_an_unknown_kind_of_token_is_no_login(self):
        body = {"type": "LATER", "token": "t", "expiresIn": 1, "userUid": "u", "methods": []}
        listener = self.listen(answer(200, json.dumps(body).encode()))

        with self.assertRaises(Unexpected):
            Client(listener.path).log_in("a", "b")

    def test_a_proxy_page_is_a_refusal_without_a_code(self):
        listener = self.listen(answer(502, b"<h1>Bad gateway</h1>"))

        with self.assertRaises(Refused) as caught:
            Client(listener.path).request("GET", "/auth")

        self.assertEqual((caught.exception.status, caught.exception.code), (502, ""))

    def test_a_connection_that_breaks_is_tried_again_until_patience_ends(self):
        listener = self.listen(hang_up, answer(200, b"{}"))

        self.assertEqual(Client(listener.path).request("GET", "/auth"), {})

    def test_an_answer_that_ends_early_is_a_lost_one(self):
        def cut(connection):
            connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{\"a\": ")

        listener = self.listen(cut, answer(200, b'{"a": 1}'))

        self.assertEqual(Client(listener.path).request("GET", "/auth"), {"a": 1})
        listener = self.listen(cut)
        with self.assertRaises(NoAnswer):
            Client(listener.path, patience=0).request("GET", "/auth")

    def test_what_a_header_field_cannot_hold_is_refused_without_quoting_it(self):
        for more in ({"token": "hunter2\n"}, {"token": "hunter2é"}, {"reason": "hunter2\r\nx: y"}):
            with self.assertRaises(ValueError) as caught:
                Client("/nowhere").request("GET", "/auth", **more)
            self.assertNotIn("hunter2", str(caught.exception))

    def test_made_up_tokens_do_not_ask_a_daemon_that_is_away_each_time(self):
        verifier = TokenVerifier(Client("/nowhere/mfad.sock"), clock=lambda: 100.0)
        unknown = "eyJhbGciOiJFZERTQSIsImtpZCI6Im5vYm9keSIsInR5cCI6IkFDQ0VTUyJ9.e30.AA"

        with self.assertRaises(Unreachable):
            verifier.claims(unknown)
        with self.assertRaises(TokenError):
            verifier.claims(unknown)

    def test_secrets_are_left_out_of_a_repr(self):
        session = Session("u", "hunter2", 900, refresh="hunter3")

        self.assertNotIn("hunter", repr(session))
        self.assertNotIn("hunter", repr(mfad_client.Enrollment(mfad_client.Factor("a", "b", "c"), ("hunter2",), session)))

    def test_patience_is_bounded(self):
        with self.assertRaises(ValueError):
            Client(patience=60)


if __name__ == "__main__":
    unittest.main()
