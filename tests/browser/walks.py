"""The parts of the test. Each begins with the page loaded afresh, and with users of its own."""

import json
import re
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

import proxy as loopback
import words
from browser import PASSWORD, PATIENCE
from host import Device, until

TREE = Path(__file__).resolve().parents[2]
FILES = TREE / "crates/mfad/src/http/ui"
# Codes that no call of the page can meet: those of keys in this host, of receipts, of users being made.
OF_OTHERS = {
    "receipt-refused", "email-taken", "id-taken", "password-exists", "many-devices", "device-full", "touch-timeout",
    "touch-denied", "pin-required", "not-this-key", "pin-wrong", "pin-blocked", "device-changed", "device-in-use",
    "not-genuine", "wrong-device-password", "device-locked", "no-pcscd", "pcscd-denied", "hid-denied", "no-device",
    "device-busy", "device-removed", "device-failed",
}  # fmt: skip

# Whether the page holds back who leaves it. The question itself is the browser's, and drivers answer it on their own.
LEAVING = """
const event = new Event('beforeunload', { cancelable: true });
window.dispatchEvent(event);
return event.defaultPrevented;
"""

# A browser that has WebAuthn, but none of its JSON functions.
WITHOUT_JSON = """
delete PublicKeyCredential.parseCreationOptionsFromJSON;
delete PublicKeyCredential.parseRequestOptionsFromJSON;
delete PublicKeyCredential.prototype.toJSON;
"""


class Walk:
    """The parts of the test. Each begins with the page loaded afresh, and with users of its own."""

    def __init__(self, host, proxy, page, checks):
        self.host = host
        self.proxy = proxy
        self.page = page
        self.holds = checks.holds

    # ---- people

    def user(self, name):
        self.host.call("POST", "/users", {"name": name, "password": PASSWORD})
        return name

    def token(self, name, device=None):
        """A token that the page knows nothing of."""
        grant = self.host.call("POST", "/auth/password", {"id": name, "password": PASSWORD})
        if grant["type"] == "CHALLENGE":
            grant = self.host.call("POST", "/auth/totp", {"token": device.next()}, token=grant["token"])
        return grant["token"]

    def enrolled_user(self, name, label="phone"):
        """A user with an authenticator app, and their backup codes."""
        token = self.token(self.user(name))
        secret = self.host.call("POST", "/users/me/secrets", {"type": "mfa", "name": label}, token=token)
        device = Device(secret["secret"]["secret"])
        path = f"/users/me/secrets/{secret['uid']}/enroll"
        return device, self.host.call("PUT", path, {"token": device.next()}, token=token)["codes"]

    def enter(self, name, device):
        """Logs in on the page, with a code."""
        self.page.log_in(name)
        self.page.at("second")
        self.page.give("second", "totp", device.next())
        self.page.at("factors")

    def is_stale(self, method, target):
        """Plays a proof that is older than five minutes."""
        problem = {
            "type": "urn:mfad:error:fresh-proof-required", "title": "", "status": 403, "detail": "played by the test",
            "code": "fresh-proof-required", "requestId": "test",
        }  # fmt: skip
        self.proxy.answer_instead(method, target, 403, problem)

    def calls(self, method, target):
        return [entry for entry in self.proxy.log if entry[0] == method and entry[1].startswith(target)]

    # ---- the walks

    def the_files(self):
        with self.holds("the page is small, and has no inline script, no inline style and no address of others"):
            html, css, js = ((FILES / name).read_text(encoding="utf-8") for name in ("index.html", "ui.css", "ui.js"))
            assert not re.search(r"\son\w+=|<style|\sstyle=|<script(?![^>]*\ssrc=)|javascript:", html)
            outside = re.findall(r"https?://[^\s'\"<>)]+", html + css + js)
            assert set(outside) <= {"http://www.w3.org/2000/svg"}, outside
            assert not re.search(r"localStorage|sessionStorage|document\.cookie|innerHTML|indexedDB|eval\(", js)
            assert len(html + css + js) < 100_000
        with self.holds("every code of docs/errors.md that the page can meet has a sentence"):
            table = (TREE / "docs/errors.md").read_text(encoding="utf-8")
            codes = set(re.findall(r"^\| `([a-z-]+)` \| \d{3} \|", table, re.MULTILINE)) - OF_OTHERS
            said = set(re.findall(r"^  '([a-z-]+)':", js, re.MULTILINE))
            assert codes and codes <= said, codes - said
        with self.holds("every text of the page is in the German file, with its values, and no other text"):
            german = json.loads((TREE / "packaging/ui.de.json").read_text(encoding="utf-8"))["words"]
            own = words.texts()
            assert len(own) > 150 and own == set(german), (own - set(german), set(german) - own)
            for text, translated in german.items():
                assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", translated)), text
        with self.holds("the page comes with its content security policy"):
            status, headers = self.head("/ui/")
            policy = headers.get("content-security-policy", "")
            parts = {part.strip() for part in policy.split(";") if part.strip()}
            wanted = {part.strip() for part in loopback.CSP.split(";")}
            assert status == 200 and wanted <= parts, policy
            for name, kind in (("ui.css", "text/css"), ("ui.js", "text/javascript")):
                status, headers = self.head(f"/ui/{name}")
                assert status == 200 and headers["content-type"].startswith(kind), headers
        with self.holds("what is served is what the tree has"):
            for path, name in (("", "index.html"), ("ui.css", "ui.css"), ("ui.js", "ui.js")):
                served = self.page.run("return await (await fetch(arguments[0])).text()", f"/ui/{path}")
                assert served == (FILES / name).read_text(encoding="utf-8"), f"{name} of an older build"

    def head(self, path):
        script = "const answer = await fetch(arguments[0]); return [answer.status, [...answer.headers]];"
        status, headers = self.page.run(script, path)
        return status, dict(headers)

    def the_login(self):
        page = self.page
        name = self.user("ada")
        with self.holds("the login view is there, with its title and the focus in the first field"):
            assert page.driver.title == "Log in – mfad"
            assert page.active().get_attribute("name") == "id"
            page.look("login")
        with self.holds("what is missing is named"):
            page.button("Log in", "#login")
            page.message("login", "“Name or e-mail address” is missing")
            assert page.one("#login .message").get_attribute("role") == "alert"
        with self.holds("a wrong password is refused in one sentence that does not say what was wrong"):
            page.log_in(name, "wrong horse battery")
            page.message("login", "The name or the password is wrong.")
            assert page.one("#login [name=password]").get_attribute("value") == ""
            page.look("login-refused")
        with self.holds("without a factor the password logs in, with the keyboard alone"):
            page.open()
            page.press(name, Keys.TAB)
            page.press(PASSWORD, Keys.ENTER)
            page.at("factors")
            assert page.active().get_attribute("id") == "factors-title"
            assert "Two-step login is off" in page.one("#state").text
            assert [row[:3] for row in page.rows()] == [["password", "Password", "active"]]
            page.look("factors-none")
        with self.holds("the keyboard goes through the page from the top to the bottom"):
            reached, outlines = [], set()
            for _ in range(3):
                page.press(Keys.TAB)
                reached.append(page.active().text)
                outlines.add(page.active().value_of_css_property("outline-style"))
            assert reached == ["Change", "Add an authenticator app", "Add a security key"], reached
            assert outlines == {"solid"}, outlines
        with self.holds("logging out ends the session"):
            page.click("#log-out")
            page.at("login")
            page.message("login", "You are logged out.")
            assert self.calls("POST", "/v1/auth/logout")[-1][2] == 204
            assert not page.seen("#who")

    def the_delay(self):
        page = self.page
        name = self.user("bob")
        wrong = {"id": name, "password": "wrong horse battery"}
        with self.holds("a delay is told in seconds, and waited for"):
            # Enough failures for a delay of a few seconds.
            for _ in range(40):
                answer = self.guess(wrong)
                if answer["code"] == "too-many-attempts":
                    if answer["retryAfter"] >= 4:
                        break
                    self.wait_out(wrong)
            page.log_in(name)
            page.message("login", "Try again in", "right answers are refused as well")
            button = page.one("#login form .main")
            assert "wait" in button.text and button.get_attribute("aria-disabled") == "true"
            page.look("login-delayed")
        with self.holds("when it is over the right password is taken"):
            page.message("login", "You can try again now.")
            assert button.text == "Log in"
            page.log_in(name)
            page.at("factors")

    def wait_out(self, wrong):
        until("the next attempt", lambda: self.guess(wrong)["code"] == "wrong-credentials")

    def guess(self, wrong):
        """A login on the way of the page: a delay is for the account that it comes from."""
        headers, body = {"Content-Type": "application/json"}, json.dumps(wrong).encode()
        return json.loads(self.proxy.pass_on("POST", "/v1/auth/password", headers, body)[2])

    def an_app(self):
        page = self.page
        name = self.user("carol")
        page.log_in(name)
        page.at("factors")
        with self.holds("a name that is taken is refused"):
            page.button("Add an authenticator app")
            page.look("add-app-name")
            page.type("#app-name-form [name=name]", "password")
            page.button("Show the QR code")
            page.message("add-app", "You have something of this name already")
        with self.holds("the QR code is shown as a picture, and the key as text"):
            page.type("#app-name-form [name=name]", "phone")
            page.button("Show the QR code")
            page.wait("#qr")
            until(
                "the picture",
                lambda: page.run("const i = document.getElementById('qr'); return i.complete && i.naturalWidth > 100"),
            )
            seed = page.one("#seed").text.replace(" ", "")
            link = page.one("#app-link").get_attribute("href")
            assert re.fullmatch(r"[A-Z2-7]{32}", seed) and f"secret={seed}" in link
            device = Device(seed)
            page.look("add-app")
        with self.holds("the key can be copied"):
            page.button("Copy the key")
            page.message("add-app", "The key is copied.")
            assert self.clipboard() == seed
        with self.holds("a code of the wrong length is refused and costs nothing"):
            self.first_code("12345")
            page.message("add-app", "did not count as an attempt")
        with self.holds("a wrong code is refused, with what is left"):
            self.first_code(device.wrong())
            page.message("add-app", "4 attempts left")
        with self.holds("a code of another algorithm is diagnosed"):
            self.first_code(device.code(device.now(), algorithm="sha256"))
            page.message("add-app", "The app uses SHA-256 where SHA-1 is meant", "3 attempts left")
            page.look("add-app-diagnosis")
        with self.holds("a clock that is off is diagnosed"):
            self.first_code(device.code(device.now() - 6))
            said = page.message("add-app", "The clock of your device is", "behind", "2 attempts left")
            assert "minutes" in said, said
        with self.holds("a wrong time zone is diagnosed"):
            self.first_code(device.code(device.now() - 5 * 120 - 90))
            page.message("add-app", "Your device is 5 hours 45 minutes behind, which is a time zone", "1 attempt left")
        with self.holds(
            "the right code switches it on and shows ten backup codes, once, though the answer is lost at first"
        ):
            self.proxy.lose_answer("PUT", "/v1/users/me/secrets/")
            before = len(self.proxy.log)
            self.first_code(device.next())
            page.at("codes")
            codes = [item.text for item in page.driver.find_elements(By.CSS_SELECTOR, "#code-list li")]
            assert len(set(codes)) == 10 and all(re.fullmatch(r"(\w{4}-){3}\w{4}", code) for code in codes), codes
            assert [status for _, _, status in self.proxy.log[before:]] == [200, 200], self.proxy.log[before:]
            assert "They are shown only now" in page.one("#codes").text
            assert not page.one("#seed").get_attribute("textContent")
            assert page.one("#qr").get_attribute("src") in (None, "")
            page.look("codes")
        with self.holds("the codes can be copied"):
            page.button("Copy", "#codes")
            page.message("codes", "The codes are copied.")
            assert all(code in self.clipboard() for code in codes)
        with self.holds("the codes can be downloaded"):
            page.button("Download")
            file = page.downloads / "backup-codes-carol.txt"
            until("the download", file.exists, PATIENCE)
            until("all of it", lambda: all(code in file.read_text(encoding="utf-8") for code in codes), PATIENCE)
        with self.holds("the codes can be printed"):
            page.run("window.print = () => { window.printed = true; }")
            page.button("Print")
            until("the printing", lambda: page.run("return window.printed"), PATIENCE)
        with self.holds("then the session goes on, and the codes are gone from the page"):
            page.click("#codes-kept")
            page.at("factors")
            assert "Two-step login is on" in page.one("#state").text and "10 of 10 left" in page.one("#codes-left").text
            assert not page.driver.find_elements(By.CSS_SELECTOR, "#code-list li")
            assert not page.run(LEAVING)
        with self.holds("the new factor logs in"):
            page.click("#log-out")
            page.at("login")
            self.enter(name, device)
            assert page.row("phone")[1:3] == ["Authenticator app\nTOTP · SHA1 · 6 digits · 30 s", "active"], page.row(
                "phone"
            )
            page.look("factors")

    def ways(self, place):
        """The ways that a form offers, in their order."""
        nodes = self.page.driver.find_elements(By.CSS_SELECTOR, f"#{place} [name=way]")
        return [node.get_attribute("value") for node in nodes]

    def the_password(self):
        page = self.page
        name = self.user("max")
        page.log_in(name)
        page.at("factors")
        with self.holds("a new password is typed twice, and has eight characters"):
            page.action("Change password")
            page.at("change-password")
            page.look("change-password")
            self.new_password(PASSWORD, "short", "short")
            page.message("change-password", "at least 8 characters")
            self.new_password(PASSWORD, "another horse battery", "another horse bakery")
            page.message("change-password", "differ")
        with self.holds("a wrong present password is told there"):
            self.new_password("wrong horse battery", "another horse battery", "another horse battery")
            page.message("change-password", "The current password is wrong.")
        with self.holds("the new password takes the place of the old one, and the sessions end"):
            self.new_password(PASSWORD, "another horse battery", "another horse battery")
            page.at("login")
            page.message("login", "Your password is changed")
            assert page.one("#login [name=id]").get_attribute("value") == name
            page.log_in(name)
            page.message("login", "The name or the password is wrong.")
            page.log_in(name, "another horse battery")
            page.at("factors")

    def new_password(self, current, new, again):
        for field, text in (("current", current), ("secret", new), ("again", again)):
            self.page.type(f"#password-form [name={field}]", text)
        self.page.button("Change it")

    def the_name_of_the_site(self):
        page = self.page
        with self.holds("the page goes by the name that the administrator gave the site"):
            assert page.one("#site").text == "mfad"
            self.proxy.answer_instead("GET", "/v1/auth", 200, {"issuer": "Example & Söhne $&"})
            page.open()
            until("the name", lambda: page.one("#site").text == "Example & Söhne $&", PATIENCE)
            assert page.driver.title == "Log in – Example & Söhne $&", page.driver.title

    def the_language(self):
        page = self.page
        name = self.user("olga")
        agent = page.run("return navigator.userAgent")
        page.command("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="de-DE,de,en")
        try:
            with self.holds("a browser that asks for German gets the page in German"):
                page.open()
                assert page.run("return document.documentElement.lang") == "de"
                assert page.driver.title == "Anmelden – mfad", page.driver.title
                page.type("#login [name=id]", name)
                page.type("#login [name=password]", "wrong horse battery")
                page.button("Anmelden", "#login")
                page.message("login", "Name oder Passwort ist falsch.")
                page.look("login-german")
                page.type("#login [name=password]", PASSWORD)
                page.button("Anmelden", "#login")
                page.at("factors")
                assert [row[:3] for row in page.rows()] == [["password", "Passwort", "aktiv"]], page.rows()
                page.button("Authenticator-App hinzufügen")
                page.button("QR-Code zeigen")
                page.wait("#qr")
                device = Device(page.one("#seed").text.replace(" ", ""))
                page.type("#first-code-form [name=token]", device.wrong())
                page.button("Einschalten")
                page.message("add-app", "falsch", "Noch 4 Versuche.")
        finally:
            page.command("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="en-US,en")
        with self.holds("any other browser gets it in English"):
            page.open()
            assert page.run("return document.documentElement.lang") == "en"
            assert page.driver.title == "Log in – mfad"

    def a_key_of_another_kind(self):
        page = self.page
        page.log_in(self.user("ned"))
        page.at("factors")
        with self.holds("an authenticator that cannot sign as needed is told in clear words"):
            page.run("""navigator.credentials.create = async () => {
                throw new DOMException('no algorithm', 'NotSupportedError'); };""")
            page.button("Add a security key")
            page.button("Register the key")
            page.message("add-key", "cannot sign with ES256", "only RS256")

    def first_code(self, code):
        self.page.type("#first-code-form [name=token]", code)
        self.page.button("Switch it on")

    def clipboard(self):
        return self.page.run("return navigator.clipboard.readText()")

    def an_app_given_up(self):
        page = self.page
        name = self.user("dora")
        page.log_in(name)
        page.at("factors")
        with self.holds("an app that is given up leaves nothing behind"):
            page.button("Add an authenticator app")
            page.button("Show the QR code")
            page.wait("#qr")
            page.button("Cancel", "#add-app")
            page.at("factors")
            assert [row[0] for row in page.rows()] == ["password"]
        with self.holds("a pending one is listed, and can be finished without its picture"):
            secret = self.host.call(
                "POST", "/users/me/secrets", {"type": "mfa", "name": "tablet"}, token=self.token(name)
            )
            device = Device(secret["secret"]["secret"])
            page.open()
            page.log_in(name)
            page.at("factors")
            assert "pending until" in page.row("tablet")[2]
            page.look("factors-pending")
            page.action("Enter the code tablet")
            page.at("add-app")
            assert not page.seen("#qr")
            self.first_code(device.next())
            page.at("codes")
            page.click("#codes-kept")
            page.at("factors")
        with self.holds("after five wrong first codes it begins again"):
            page.button("Add an authenticator app")
            page.button("Show the QR code")
            page.wait("#qr")
            other = Device(page.one("#seed").text.replace(" ", ""))
            for left in range(4, 0, -1):
                self.first_code(other.wrong())
                page.message("add-app", f"{left} attempt")
            self.first_code(other.wrong())
            page.wait("#app-name-form")
            page.message("add-app", "no attempt is left. Begin again.")
            assert not page.seen("#qr")

    def the_second_step(self):
        page = self.page
        device, codes = self.enrolled_user("eve")
        with self.holds("the second step offers what the challenge offers"):
            page.log_in("eve")
            page.at("second")
            assert self.ways("second") == ["totp", "recovery"]
            assert page.active().get_attribute("name") == "token"
            assert page.active().get_attribute("autocomplete") == "one-time-code"
            page.look("second")
        with self.holds("a wrong code is refused, with what is left"):
            page.give("second", "totp", device.wrong())
            page.message("second", "4 attempts left")
            page.look("second-refused")
        with self.holds("a code of the wrong length is refused in words, without those of the request"):
            page.give("second", "totp", "12")
            said = page.message("second", "did not count as an attempt")
            assert "`" not in said and "token" not in said, said
        with self.holds("with the last attempt gone it begins again with the password"):
            problem = {"code": "wrong-code", "status": 401, "remaining": 0, "detail": "played", "requestId": "test"}
            self.proxy.answer_instead("POST", "/v1/auth/totp", 401, problem)
            page.give("second", "totp", "123456")
            page.at("login")
            page.message("login", "no attempt is left. Begin again with the password.")
            page.log_in("eve")
            page.at("second")
        with self.holds("a backup code logs in, in small letters and without hyphens, and the page counts the rest"):
            page.give("second", "recovery", codes[0].lower().replace("-", " "))
            page.at("factors")
            page.message("factors", "That backup code is used up.", "9 codes left")
            assert "9 of 10 left" in page.one("#codes-left").text
        with self.holds("a used code is refused"):
            page.click("#log-out")
            page.at("login")
            page.log_in("eve")
            page.at("second")
            page.give("second", "recovery", codes[0])
            page.message("second", "wrong, or was used before")
        with self.holds("one can start again"):
            page.click("#start-again")
            page.at("login")
            assert page.one("#login [name=id]").get_attribute("value") == ""
        with self.holds("with three backup codes left the page warns"):
            for code in codes[1:6]:
                grant = self.host.call("POST", "/auth/password", {"id": "eve", "password": PASSWORD})
                self.host.call("POST", "/auth/recovery", {"code": code}, token=grant["token"])
            page.log_in("eve")
            page.at("second")
            page.give("second", "recovery", codes[6])
            page.at("factors")
            page.message("factors", "Make new ones below")
            page.look("factors-few-codes")
        with self.holds("the reader of the screen hears of a challenge that ended, and the login is back"):
            page.open()
            page.log_in("eve")
            page.at("second")
            other = self.host.call("POST", "/auth/password", {"id": "eve", "password": PASSWORD})
            uid = other["userUid"]
            user = self.host.call("GET", f"/users/{uid}")
            for is_disabled in (True, False):
                body = {"disabled": is_disabled, "version": user["version"]}
                user = self.host.call("PUT", f"/users/{uid}", body)
            page.give("second", "totp", device.next())
            page.at("login")
            page.message("login", "Begin again with the password")
        with self.holds("a locked factor is told, with who can help"):
            page.open()
            page.log_in("eve")
            page.at("second")
            problem = {"code": "factor-locked", "status": 423, "detail": "played by the test", "requestId": "test"}
            self.proxy.answer_instead("POST", "/v1/auth/totp", 423, problem)
            page.give("second", "totp", "123456")
            page.message("second", "ask the administrator to unlock")
        with self.holds("an answer that is no JSON, and a code from a newer daemon, have a sentence too"):
            self.proxy.answer_instead("POST", "/v1/auth/totp", 418, {"code": "teapot", "detail": "short and stout"})
            page.give("second", "totp", "123456")
            page.message("second", "Short and stout.")

    def the_list(self):
        page = self.page
        device, codes = self.enrolled_user("fay")
        token = self.token("fay", device)
        self.host.call("POST", "/users/me/secrets", {"type": "apikey", "name": "backup job"}, token=token)
        page.log_in("fay")
        page.at("second")
        page.give("second", "recovery", codes[0])
        page.at("factors")
        with self.holds("the list tells name, type, status and last use"):
            assert [row[0] for row in page.rows()] == ["password", "phone", "backup job"], page.rows()
            assert page.row("backup job")[1:4] == ["API key", "active", "never"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", page.row("phone")[3])
        with self.holds("a factor can be renamed"):
            page.action("Rename phone")
            page.at("rename")
            page.look("rename")
            page.type("#rename [name=name]", "old phone")
            page.press(Keys.ENTER)
            page.message("factors", "Renamed to “old phone”.")
            assert page.row("old phone")
        with self.holds("a taken name is refused in the dialog"):
            page.action("Rename old phone")
            page.type("#rename [name=name]", "Backup Job")
            page.button("Rename", "#rename")
            page.message("rename", "You have something of this name already")
            page.button("Cancel", "#rename")
        with self.holds("what was changed elsewhere is read again"):
            page.action("Rename old phone")
            secrets = self.host.call("GET", "/users/me/secrets", token=token)["secrets"]
            phone = next(secret for secret in secrets if secret["name"] == "old phone")
            body = {"name": "phone of fay", "version": phone["version"]}
            self.host.call("PUT", f"/users/me/secrets/{phone['uid']}", body, token=token)
            page.type("#rename [name=name]", "mine")
            page.button("Rename", "#rename")
            page.message("factors", "changed somewhere else")
            assert page.row("phone of fay")
        with self.holds("escape keeps what was about to be deleted"):
            before = len(self.calls("DELETE", "/v1/users/me/secrets"))
            page.action("Delete backup job")
            page.at("confirm")
            assert page.active().text == "Keep it"
            page.press(Keys.ESCAPE)
            until("the dialog to close", lambda: not page.seen("#confirm"))
            assert page.row("backup job") and len(self.calls("DELETE", "/v1/users/me/secrets")) == before
        with self.holds("what is no factor is deleted, and the session goes on"):
            page.action("Delete backup job")
            page.button("Delete", "#confirm")
            page.message("factors", "“backup job” is deleted.")
            assert [row[0] for row in page.rows()] == ["password", "phone of fay"]
        with self.holds("a stale proof asks for another, and escape leaves everything as it is"):
            self.is_stale("DELETE", "/v1/users/me/secrets/")
            page.action("Delete phone of fay")
            page.at("confirm")
            assert "last factor" in page.one("#confirm-text").text
            page.look("delete")
            page.button("Delete", "#confirm")
            page.at("step-up")
            assert page.one("#step-up-action").text == "delete “phone of fay”"
            page.look("step-up")
            page.press(Keys.ESCAPE)
            until("the dialog to close", lambda: not page.seen("#step-up"))
            assert page.row("phone of fay")
        with self.holds("a wrong code there is refused there; a backup code is taken and the deletion goes on"):
            self.is_stale("DELETE", "/v1/users/me/secrets/")
            page.action("Delete phone of fay")
            page.button("Delete", "#confirm")
            page.at("step-up")
            page.give("step-up", "totp", device.wrong())
            page.message("step-up", "wrong, or was used before")
            page.give("step-up", "recovery", codes[1])
            page.at("login")
            page.message("login", "“phone of fay” is deleted. Log in again.")
            assert self.calls("POST", "/v1/auth/stepup")[-1][2] == 200
            assert self.calls("DELETE", "/v1/users/me/secrets/")[-1][2] == 204
        with self.holds("without a factor the password is enough again"):
            page.log_in("fay")
            page.at("factors")
            assert "Two-step login is off" in page.one("#state").text and not page.seen("#backup")

    def the_backup_codes(self):
        page = self.page
        device, old = self.enrolled_user("gil")
        page.log_in("gil")
        page.at("second")
        page.give("second", "totp", device.next())
        page.at("factors")
        with self.holds("the backup codes are counted and renewed, after a question and a step-up with a code"):
            assert "10 of 10 left" in page.one("#codes-left").text
            self.is_stale("POST", "/v1/users/me/codes")
            page.button("Make new backup codes")
            page.at("confirm")
            page.button("Make new ones", "#confirm")
            page.at("step-up")
            page.give("step-up", "totp", device.next())
            page.at("codes")
            new = [item.text for item in page.driver.find_elements(By.CSS_SELECTOR, "#code-list li")]
            assert len(set(new)) == 10 and not set(new) & set(old)
            page.look("codes-renewed")
        with self.holds("the page holds back whoever leaves it before the codes are kept"):
            assert page.run(LEAVING)
            page.click("#codes-kept")
            page.at("login")
            assert not page.run(LEAVING)
        with self.holds("a new code logs in, an old one does not"):
            page.log_in("gil")
            page.at("second")
            page.give("second", "recovery", old[0])
            page.message("second", "wrong, or was used before")
            page.give("second", "recovery", new[0])
            page.at("factors")

    def the_session(self):
        page = self.page
        name = self.user("hal")
        page.log_in(name)
        page.at("factors")
        with self.holds("a token that ended is renewed once, and the call repeated"):
            problem = {"code": "unauthenticated", "status": 401, "detail": "played by the test", "requestId": "test"}
            self.proxy.answer_instead("POST", "/v1/users/me/secrets", 401, problem)
            before = len(self.calls("POST", "/v1/auth/refresh"))
            page.button("Add an authenticator app")
            page.button("Show the QR code")
            page.wait("#qr")
            renewals = self.calls("POST", "/v1/auth/refresh")[before:]
            assert [status for _, _, status in renewals] == [200], renewals
        with self.holds("a token that is about to end is renewed before it is used"):
            page.run("const now = Date.now; Date.now = () => now() + 890_000;")
            before = len(self.proxy.log)
            page.button("Cancel", "#add-app")
            page.at("factors")
            assert self.proxy.log[before][1:] == ("/v1/auth/refresh", 200), self.proxy.log[before:]
        with self.holds("nothing is kept in the browser's stores, and nothing in the address"):
            kept = page.run("return [localStorage.length, sessionStorage.length, document.cookie, location.href]")
            assert kept == [0, 0, "", f"{self.proxy.origin}/ui/"], kept
        with self.holds("a session that ended elsewhere leads back to the login, with a sentence"):
            token = self.token(name)
            body = {"secret": "another horse battery", "current": PASSWORD}
            self.host.call("PUT", "/users/me/secrets/password", body, token=token)
            page.button("Add an authenticator app")
            page.button("Show the QR code")
            page.at("login")
            page.message("login", "Your session has ended. Log in again.")
            assert page.one("#qr").get_attribute("src") in (None, "")
        with self.holds("a reload forgets the session"):
            page.log_in(name, "another horse battery")
            page.at("factors")
            page.driver.refresh()
            page.at("login")
        with self.holds("a daemon that cannot be reached is told"):
            self.proxy.daemon, kept = str(self.host.dir / "nothing"), self.proxy.daemon
            page.log_in(name)
            page.message("login", "cannot be reached")
            self.proxy.daemon = kept

    def the_enrolment_that_is_asked_for(self):
        page = self.page
        name = self.user("ida")
        self.host.reload("mfaRequired = true\n", "mfaRequired", True)
        try:
            with self.holds("where a factor is required the login leads straight to adding one"):
                page.log_in(name)
                page.at("add-app")
                page.message("add-app", "This host asks everybody for a second factor")
                assert not page.seen("#add-app .back")
                page.look("enrolment-required")
                page.button("Use a security key instead")
                page.at("add-key")
                page.button("Use an authenticator app instead")
                page.button("Show the QR code")
                page.wait("#qr")
                device = Device(page.one("#seed").text.replace(" ", ""))
                self.first_code(device.next())
                page.at("codes")
                page.click("#codes-kept")
                page.at("factors")
                page.click("#log-out")
                page.at("login")
                self.enter(name, device)
            self.the_key_that_is_asked_for()
        finally:
            self.host.reload("", "mfaRequired", False)

    def the_key_that_is_asked_for(self):
        page = self.page
        if "fido2" not in self.host.call("GET", "/auth")["methods"]:
            return
        with self.holds("a security key will do for that as well"):
            page.open()
            page.log_in(self.user("lea"))
            page.at("add-app")
            page.button("Use a security key instead")
            self.plug_in()
            try:
                page.button("Register the key")
                page.at("codes")
            finally:
                page.driver.remove_virtual_authenticator()

    def a_security_key(self):
        self.security_key("jan", "native")

    def a_security_key_without_json(self):
        self.page.script = self.page.command("Page.addScriptToEvaluateOnNewDocument", source=WITHOUT_JSON)["identifier"]
        try:
            self.page.open()
            self.security_key("kim", "without the JSON functions of the browser")
        finally:
            self.page.command("Page.removeScriptToEvaluateOnNewDocument", identifier=self.page.script)

    def plug_in(self):
        options = VirtualAuthenticatorOptions()
        options.transport = VirtualAuthenticatorOptions.Transport.USB
        options.has_user_verification = True
        options.is_user_verified = True
        self.page.driver.add_virtual_authenticator(options)

    def security_key(self, name, how):
        page = self.page
        self.user(name)
        answer = self.host.call("POST", "/users/me/secrets", {"type": "fido2"}, token=self.token(name), expect=None)
        if answer.get("status") == 400 and answer.get("code") == "malformed":
            print(f"skip  security keys, {how}: the daemon does not know them yet", flush=True)
            return
        page.open()
        page.log_in(name)
        page.at("factors")
        self.plug_in()
        try:
            self.security_key_steps(name, how)
        finally:
            page.driver.remove_virtual_authenticator()

    def security_key_steps(self, name, how):
        page = self.page
        with self.holds(f"a security key is registered as the first factor and brings ten backup codes ({how})"):
            page.button("Add a security key")
            page.look("add-key")
            page.type("#key-form [name=name]", "blue key")
            page.button("Register the key")
            page.at("codes")
            assert len(page.driver.find_elements(By.CSS_SELECTOR, "#code-list li")) == 10
            page.click("#codes-kept")
            page.at("factors")
            page.click("#log-out")
            page.at("login")
        with self.holds(f"the second step offers the key first, and the key logs in ({how})"):
            page.log_in(name)
            page.at("second")
            assert self.ways("second") == ["fido2", "recovery"]
            assert page.one("#second [value=fido2]").is_selected()
            page.look("second-key")
            page.click("#second form .main")
            page.at("factors")
            assert page.row("blue key")[1:3] == ["Security key", "active"]
            page.look("factors-key")
        with self.holds(f"the same key is not registered a second time ({how})"):
            page.button("Add a security key")
            page.button("Register the key")
            page.message("add-key", "registered already")
            page.button("Back", "#add-key")
            page.at("factors")
            assert [row[0] for row in page.rows()] == ["password", "blue key"], page.rows()
        with self.holds(f"the key answers a step-up ({how})"):
            self.is_stale("POST", "/v1/users/me/codes")
            page.button("Make new backup codes")
            page.button("Make new ones", "#confirm")
            page.at("step-up")
            page.click("#step-up [value=fido2]")
            page.look("step-up-key")
            page.click("#step-up form .main")
            page.at("codes")
            page.click("#codes-kept")
        with self.holds(f"a key that does not answer can be given up ({how})"):
            page.log_in(name)
            page.at("second")
            self.without_presence()
            page.click("#second [value=fido2]")
            page.click("#second form .main")
            page.message("second", "Waiting for the security key")
            page.button("Stop waiting", "#second")
            page.message("second", "Stopped. Nothing was changed.")
        with self.holds(f"another key is told that it does not belong here ({how})"):
            page.driver.remove_virtual_authenticator()
            self.plug_in()
            page.click("#second form .main")
            page.message("second", "No key answered")

    def without_presence(self):
        """A key that nobody touches."""
        self.page.driver.remove_virtual_authenticator()
        options = VirtualAuthenticatorOptions()
        options.transport = VirtualAuthenticatorOptions.Transport.USB
        options.is_user_consenting = False
        self.page.driver.add_virtual_authenticator(options)

    def nothing_leaves(self):
        self.page.read_logs()
        with self.holds("no request left the origin"):
            own = (f"{self.proxy.origin}/", "data:", f"blob:{self.proxy.origin}/")
            foreign = {url for url in self.page.requests if not url.startswith(own)}
            assert len(self.page.requests) > 50 and not foreign, foreign
        with self.holds("the console has no error and no violation of the policy"):
            assert not self.page.complaints, self.page.complaints
