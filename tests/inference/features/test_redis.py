"""Redis alone: every value type beside Feast's own store class, one round trip, and everything that can fail."""

import math
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import feast
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_platform.contracts.features import FeatureColumn, FeatureLookupSpec, FeatureViewLookup, JoinKey
from ml_platform.inference.features import FeastRedisReader, FeatureStoreUnavailable
from ml_platform.inference.features.redis_view import field_of, time_field
from ml_platform.kit.redis import RedisAddress
from tests.support.crash import eventually
from tests.support.redis import running_redis
from tests.support.relay import Relay

from .test_reader import write_config
from .test_values import comparable, values

NOW = datetime(2024, 5, 1, 12, 30, 15, 250_000, tzinfo=UTC)
SOON = 20.0
"""Far more than any deadline here, and far less than for ever: the machine may be slow."""


class Features:
    """Writes values by Feast's own store class and reads them by ours."""

    def __init__(self, folder, address, views=("v",), names=("f0", "f1", "f2")):
        write_config(folder, address)
        self.config = feast.FeatureStore(str(folder)).config
        self.names, self.address = names, address
        source = feast.FileSource(path="nowhere.parquet", timestamp_field="at")
        entity = feast.Entity(name="who", join_keys=["who"], value_type=feast.ValueType.STRING)
        schema = [feast.Field(name=name, dtype=feast.types.String) for name in ("who", *names)]
        self.views = {
            name: feast.FeatureView(name=name, entities=[entity], schema=schema, source=source)
            for name in views
        }
        self.store = RedisOnlineStore()
        self.readers = []

    def key(self, who):
        return EntityKeyProto(join_keys=["who"], entity_values=[Value(string_val=who)])

    def write(self, who, protos, view="v", at=NOW):
        rows = [(self.key(who), dict(zip(self.names, protos, strict=False)), at, None)]
        self.store.online_write_batch(self.config, self.views[view], rows, None)

    def by_feast(self, who, view="v"):
        ((moment, found),) = self.store.online_read(
            self.config, self.views[view], [self.key(who)], list(self.names)
        )
        return moment, {name: feast_value_type_to_python_type(found[name]) for name in self.names}

    def reader(self, address=None, ttl=None, deadline_ms=30_000.0, **options):
        lookups = tuple(
            FeatureViewLookup(
                name=view,
                join_keys=(JoinKey(name="who", type="STRING"),),
                features=tuple(
                    FeatureColumn(name=name, type="STRING", column=f"{view}.{name}") for name in self.names
                ),
                ttl_seconds=ttl,
            )
            for view in self.views
        )
        spec = FeatureLookupSpec(project="team", views=lookups, deadline_ms=deadline_ms)
        self.readers.append(FeastRedisReader(spec, address or self.address, **options))
        return self.readers[-1]

    def close(self):
        for reader in self.readers:
            reader.close()
        if self.store._client is not None:
            self.store._client.close()


@pytest.fixture
def make_features(tmp_path, redis_server):
    made = []

    def make(**options):
        address = RedisAddress.parse(redis_server.url(redis_server.next_database()))
        made.append(Features(tmp_path, address, **options))
        return made[-1]

    yield make
    for features in made:
        features.close()


@pytest.fixture
def features(make_features):
    return make_features()


@pytest.fixture
def relay(redis_server):
    with Relay(redis_server.port) as running:
        yield running


def through(relay, features):
    return RedisAddress(host="127.0.0.1", port=relay.port, database=features.address.database)


def who(*names):
    return [{"who": name} for name in names]


class TestValues:
    @settings(
        max_examples=400,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(protos=st.lists(values, min_size=1, max_size=3), name=st.text(max_size=5))
    def test_every_value_of_every_type_is_the_one_that_feast_gives(self, features, protos, name):
        self.at = getattr(self, "at", NOW) + timedelta(seconds=1)  # an older moment would not be written
        features.write(name, protos, at=self.at)
        if not features.readers:
            features.reader()
        got = features.readers[0].read(who(name)).columns
        _, want = features.by_feast(name)
        assert {column.removeprefix("v."): comparable(found[0]) for column, found in got.items()} == {
            column: comparable(value) for column, value in want.items()
        }

    @pytest.mark.parametrize("text", ["", "a", "ab", "abc", "abcd", "v:fé", "churn:tenure", "x" * 1001])
    def test_a_feature_is_found_where_feast_puts_it(self, text):
        from feast.infra.online_stores.helpers import _mmh3

        view, _, name = text.partition(":")
        assert field_of(view, name) == _mmh3(f"{view}:{name}")
        assert time_field(view) == f"_ts:{view}".encode()

    @pytest.mark.parametrize("moment", [NOW, datetime(1965, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)])
    def test_the_moment_of_the_values_is_the_one_that_feast_stored(self, features, moment):
        features.write("a", [Value(int64_val=1)] * 3, at=moment)
        edge = moment.timestamp() + 60
        young = features.reader(ttl=60.0, clock=lambda: edge - 0.001)
        old = features.reader(ttl=60.0, clock=lambda: edge + 0.001)
        assert young.read(who("a")).statuses["v.f0"] == ["present"]
        assert old.read(who("a")).statuses["v.f0"] == ["expired"]
        assert math.isclose(features.by_feast("a")[0].timestamp(), moment.timestamp())

    def test_bytes_that_are_no_value_are_unavailable(self, features, redis_server):
        features.write("a", [Value(int64_val=1)] * 3)
        (key,) = redis_server.call(b"KEYS", b"*", database=features.address.database)
        redis_server.call(b"HSET", key, field_of("v", "f1"), b"\x0a", database=features.address.database)
        with pytest.raises(FeatureStoreUnavailable, match="damaged value in 'v'"):
            features.reader().lookup(who("a"))

    def test_a_key_that_holds_something_else_is_unavailable(self, features, redis_server):
        features.write("a", [Value(int64_val=1)] * 3)
        (key,) = redis_server.call(b"KEYS", b"*", database=features.address.database)
        redis_server.call(b"SET", key, b"a string", database=features.address.database)
        reader = features.reader()
        with pytest.raises(FeatureStoreUnavailable, match="something else than a hash"):
            reader.lookup(who("a"))
        redis_server.call(b"DEL", key, database=features.address.database)
        assert reader.lookup(who("a"))["v.f0"] == [None]


class TestOneRoundTrip:
    def test_many_entities_of_several_views_come_in_one(self, make_features, relay):
        features = make_features(views=("v", "w"))
        for number in range(30):
            for view in ("v", "w"):
                features.write(f"c{number}", [Value(int64_val=number)] * 3, view)
        reader = features.reader(through(relay, features))
        reader.lookup(who("c0"))
        before = relay.round_trips
        got = reader.lookup(who(*(f"c{number}" for number in range(30)), "nobody", "c3"))
        assert relay.round_trips == before + 1
        assert got["w.f2"] == got["v.f0"] == [*range(30), None, 3]

    def test_more_than_an_exchange_holds_are_read_whole(self, make_features):
        features = make_features(views=("v", "w"), names=("f0",))
        features.write("a", [Value(int64_val=1)], "v")
        features.write("b", [Value(int64_val=2)], "w")
        names = [f"nobody-{number}" for number in range(2_500)]
        got = features.reader().lookup(who("a", *names, "b"))
        assert (got["v.f0"][0], got["v.f0"][-1], got["w.f0"][0], got["w.f0"][-1]) == (1, None, None, 2)
        assert set(got["v.f0"][1:-1]) == {None}


class TestUnavailable:
    @pytest.fixture
    def written(self, features):
        features.write("a", [Value(int64_val=7)] * 3)
        return features

    def fails_soon(self, reader, match):
        began = time.monotonic()
        with pytest.raises(FeatureStoreUnavailable, match=match):
            reader.lookup(who("a"))
        assert time.monotonic() - began < SOON

    def recovers(self, reader):
        """Not only with the first try: on a slow machine even a good answer may miss the deadline."""

        def answer():
            try:
                return reader.lookup(who("a"))["v.f0"]
            except FeatureStoreUnavailable:
                return None

        assert eventually(answer, within=60, what="an answer") == [7]

    def test_refused(self, written):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.fails_soon(written.reader(RedisAddress(host="127.0.0.1", port=port)), "nobody answers there")

    def test_a_name_that_nobody_knows(self, written):
        reader = written.reader(RedisAddress(host="redis.invalid"), deadline_ms=300)
        self.fails_soon(reader, "nobody answers|deadline")

    def test_a_question_that_is_not_taken_is_given_up(self, written):
        with socket.create_server(("127.0.0.1", 0)) as listener:  # never accepts, and never answers
            address = RedisAddress(host="127.0.0.1", port=listener.getsockname()[1])
            reader = written.reader(address, deadline_ms=300)
            for _ in range(3):
                self.fails_soon(reader, "within the deadline")

    def test_a_socket_that_is_not_there(self, written, tmp_path):
        self.fails_soon(written.reader(RedisAddress(path=str(tmp_path / "x.sock"))), "nobody answers there")

    def test_slow(self, written, relay):
        reader = written.reader(through(relay, written), deadline_ms=300)
        self.recovers(reader)
        relay.delay = 5.0
        self.fails_soon(reader, "within the deadline")
        relay.delay = 0.0
        self.recovers(reader)

    def test_a_late_answer_is_not_taken_for_the_next_one(self, written, relay):
        written.write("b", [Value(int64_val=8)] * 3)
        reader = written.reader(through(relay, written), deadline_ms=300)
        self.recovers(reader)
        relay.delay = 0.6
        self.fails_soon(reader, "within the deadline")
        relay.delay = 0.0
        for _ in range(20):
            try:
                assert reader.lookup(who("b"))["v.f0"] == [8]
            except FeatureStoreUnavailable:
                continue

    def test_hanging_before_it_takes_the_connection(self, written, relay):
        relay.silent = True
        reader = written.reader(through(relay, written), deadline_ms=300)
        self.fails_soon(reader, "within the deadline")
        relay.silent = False
        self.recovers(reader)

    def test_a_connection_that_was_cut_is_made_again_within_the_same_look_up(self, written, relay):
        reader = written.reader(through(relay, written))
        self.recovers(reader)
        for _ in range(3):
            relay.cut()
            assert reader.lookup(who("a"))["v.f0"] == [7]
        assert relay.connections == 4

    def test_a_server_that_closes_each_connection_at_once(self, written):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def hang_up():
                while True:
                    try:
                        listener.accept()[0].close()
                    except OSError:
                        return

            threading.Thread(target=hang_up, daemon=True).start()
            reader = written.reader(RedisAddress(host="127.0.0.1", port=listener.getsockname()[1]))
            self.fails_soon(reader, "closed the connection|connection broke")
            listener.shutdown(socket.SHUT_RDWR)

    def test_something_that_is_no_redis(self, written):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer():
                with listener.accept()[0] as client:
                    client.recv(10)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.recv(10_000)

            threading.Thread(target=answer, daemon=True).start()
            reader = written.reader(RedisAddress(host="127.0.0.1", port=listener.getsockname()[1]))
            self.fails_soon(reader, "not Redis's protocol")

    def test_killed_and_started_again(self, tmp_path):
        with running_redis() as server:
            features = Features(tmp_path, RedisAddress.parse(server.url()))
            features.write("a", [Value(int64_val=7)] * 3)
            reader = features.reader()
            self.recovers(reader)
            server.stop()
            self.fails_soon(reader, "cannot be read")
            server.start()
            features.write("a", [Value(int64_val=7)] * 3)
            self.recovers(reader)
            features.close()

    def test_stopped_as_a_machine_that_swaps(self, tmp_path):
        with running_redis() as server:
            features = Features(tmp_path, RedisAddress.parse(server.url()))
            features.write("a", [Value(int64_val=7)] * 3)
            reader = features.reader(deadline_ms=300)
            self.recovers(reader)
            server.pause()
            try:
                self.fails_soon(reader, "within the deadline")
                self.fails_soon(reader, "within the deadline")
            finally:
                server.resume()
            self.recovers(reader)
            features.close()


PASSWORD = "s3cret:p@ss/word"
QUOTED = "s3cret%3Ap%40ss%2Fword"


@pytest.fixture(scope="module")
def locked():
    """A server with a password, and a user that may read hashes and no more."""
    with running_redis() as server:
        reading = (b"ACL", b"SETUSER", b"reader", b"on", f">{PASSWORD}".encode(), b"~*")
        assert server.call(*reading, b"+hmget", b"+select") == b"OK"
        yield server


class TestSigningIn:
    def written(self, server, folder, database=0):
        features = Features(folder, RedisAddress.parse(server.url(database)))
        features.write("a", [Value(int64_val=7)] * 3)
        features.close()
        return features

    def test_as_a_user_that_may_only_read_hashes(self, locked, tmp_path):
        features = self.written(locked, tmp_path, database=5)
        address = RedisAddress.parse(locked.url(5, f"reader:{QUOTED}@"))
        assert features.reader(address).lookup(who("a"))["v.f0"] == [7]
        features.close()

    @pytest.mark.parametrize(
        ("user", "word", "says"),
        [
            ("reader", "wrong", "does not take"),
            ("nobody", QUOTED, "does not take"),
            ("", QUOTED, "no password"),
        ],
    )
    def test_a_wrong_password_is_told_without_it(self, locked, tmp_path, user, word, says):
        features = self.written(locked, tmp_path)
        reader = features.reader(RedisAddress.parse(locked.url(0, f"{user}:{word}@")))
        with pytest.raises(FeatureStoreUnavailable, match=says) as caught:
            reader.lookup(who("a"))
        told = f"{caught.value}{caught.value!r}{reader._link._address!r}{reader._link._address}"
        assert "wrong" not in told
        assert PASSWORD not in told
        assert QUOTED not in told
        features.close()

    def test_a_database_that_is_not_there(self, locked, tmp_path):
        features = self.written(locked, tmp_path)
        with pytest.raises(FeatureStoreUnavailable, match="no database of that number"):
            features.reader(RedisAddress.parse(locked.url(9_999))).lookup(who("a"))
        features.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed one for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    return folder


class TestTls:
    @pytest.fixture
    def encrypted(self, redis_server, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        with Relay(redis_server.port, context) as relay:
            yield relay

    def test_a_certificate_that_is_trusted(self, features, encrypted, certificate):
        features.write("a", [Value(int64_val=7)] * 3)
        url = f"rediss://localhost:{encrypted.port}/{features.address.database}?ssl_ca_certs={certificate}/cert.pem"
        assert features.reader(RedisAddress.parse(url)).lookup(who("a"))["v.f0"] == [7]

    def test_one_that_is_not(self, features, encrypted):
        reader = features.reader(RedisAddress.parse(f"rediss://localhost:{encrypted.port}"))
        with pytest.raises(FeatureStoreUnavailable, match="TLS failed"):
            reader.lookup(who("a"))

    def test_one_of_another_name(self, features, encrypted, certificate):
        url = f"rediss://127.0.0.1:{encrypted.port}?ssl_ca_certs={certificate}/cert.pem"
        with pytest.raises(FeatureStoreUnavailable, match="TLS failed"):
            features.reader(RedisAddress.parse(url)).lookup(who("a"))

    def test_none_is_asked_for(self, features, encrypted):
        features.write("a", [Value(int64_val=7)] * 3)
        url = f"rediss://127.0.0.1:{encrypted.port}/{features.address.database}?ssl_cert_reqs=none"
        assert features.reader(RedisAddress.parse(url)).lookup(who("a"))["v.f0"] == [7]

    def test_a_file_of_certificates_that_is_not_there(self, features, encrypted):
        url = f"rediss://localhost:{encrypted.port}?ssl_ca_certs=/nowhere.pem"
        with pytest.raises(FeatureStoreUnavailable, match="certificates for TLS cannot be read"):
            features.reader(RedisAddress.parse(url)).lookup(who("a"))
