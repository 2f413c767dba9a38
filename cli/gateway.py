"""The prediction gateway: ``gateway run``, the signing of models, and the verbs that change a running one."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from cli import ui
from cli.options import ENTITY, FILE, secret_options, verb
from cli.running import agent_of, carry_out, resolve, say_ready
from cli.service import metrics_option, service, settings_file
from cli.session import Session
from wave.errors import AgentUnavailable, BadSetting, InputError, NoProof, WaveError, from_problem

if TYPE_CHECKING:
    from devices.gateway.app import Engine
    from devices.gateway.plan import GatewayPlan
    from devices.gateway.pool import Pools
    from wave.agent.client import AgentClient
    from wave.dots.proof import Proof
    from wave.entities.entity import EntitySecret
    from wave.guard.guard import FactsSource, Recorder

F = TypeVar("F", bound=Callable[..., Any])

_ADMIN: Final = "http://127.0.0.1:1338"
_FORMATS: Final = {".onnx": "onnx", ".py": "python", ".pkl": "sklearn", ".joblib": "sklearn", ".pt": "torchscript"}


def admin_options(function: F) -> F:
    """Add ``--gateway``, and what says who asks, for verbs that change a running one."""
    url = click.option(
        "--gateway",
        "url",
        envvar="WAVE_GATEWAY",
        default=_ADMIN,
        show_default=True,
        metavar="URL",
        help="The gateway's admin API.",
    )
    return secret_options(url(function))


@click.group()
def gateway() -> None:
    """Serve models, each question by its asker's own right, and say who may ask what.

    Who predicts needs 'predict@NS/apps/APP' (Clipper's contract) or 'predict@NS/models/MODEL' (Open Inference
    Protocol); who changes what is served, 'admin@NS/apps/APP' or 'admin@NS/models/MODEL'.
    """


# Running -----------------------------------------------------------------------------------------------------------


@verb
@metrics_option
@click.option("--anywhere", is_flag=True, help="Allow addresses that are not this machine's own.")
@click.option("--dry-run", is_flag=True, help="Let every question through, and only say which would be refused.")
@click.option("--log", type=FILE, metavar="FILE", help="Keep the log of decisions in FILE, each line chained.")
@click.option("--origin", "origins", multiple=True, metavar="URL", help="Let pages of this origin ask from a browser.")
@click.option(
    "--engine", type=click.Choice(["embedded", "ray"]), help="Where models run. Default: as GATEWAY.toml says."
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Which Ray cluster: 'local' starts one on this machine, 'auto' finds the one it belongs to, or HOST:PORT.",
)
@click.argument("file", type=FILE, metavar="GATEWAY.toml")
def gateway_run(
    session: Session,
    *,
    metrics: str | None,
    anywhere: bool,
    dry_run: bool,
    log: str | None,
    origins: tuple[str, ...],
    engine: str | None,
    ray_address: str | None,
    file: str,
) -> None:
    """Run the gateway in GATEWAY.toml until it is stopped.

    Every model's file has its signed manifest beside it ('wave gateway sign'). What is changed while it runs is kept
    in the state directory, and wins over the file the next time. A dry run is about questions: changes take their
    right all the same.
    """
    from devices.gateway.app import Engine
    from devices.gateway.plan import RAY, GatewayPlan
    from devices.gateway.store import ModelStore
    from devices.origin import check_origin
    from wave.entities.keyring import read_text

    path = settings_file(session, file)
    plan = GatewayPlan.parse(read_text(path), base=path.parent)
    plan = replace(plan, origins=(*plan.origins, *map(check_origin, origins)), engine=engine or plan.engine)
    if ray_address is not None:
        if plan.engine != RAY:
            raise click.UsageError("--ray-address goes with --engine ray")
        plan = replace(plan, ray=replace(plan.ray, address=ray_address))
    state = plan.state or session.settings.home / "gateway" / path.stem
    here = f"{socket.gethostname()}:{state.absolute()}"
    store = ModelStore(state)

    async def main() -> None:
        from devices.gateway.metrics import GatewayHealth, GatewayMetrics
        from devices.health import serving
        from wave.agent.client import FactsFeed
        from wave.guard.log import DecisionLog

        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            facts = FactsFeed(agent).facts
            namespace = await resolve(session, agent, plan.namespace)
            numbers = GatewayMetrics()
            pools = await stack.enter_async_context(_pools(plan, here))
            building = Engine(namespace, store, facts=facts, meter=numbers, bounds=plan.bounds, pools=pools)
            engine = await stack.enter_async_context(_engine(building, plan))
            record = None if log is None else stack.enter_context(closing(DecisionLog(Path(log)))).write
            serving_both = _served(plan, engine, namespace, facts, anywhere=anywhere, dry_run=dry_run, record=record)
            urls = await stack.enter_async_context(serving_both)
            health = GatewayHealth(facts, time.time, engine, numbers)
            if metrics is not None:
                await stack.enter_async_context(serving(metrics, health))
            await stack.enter_async_context(service(session, path.stem, None, facts=facts, parts=dict))
            told = f"the gateway answers at {urls[0]}, and is changed at {urls[1]}"
            say_ready(session, "gateway", told, url=urls[0], admin=urls[1], models=sorted(engine.models))
            await asyncio.Event().wait()

    carry_out(main())


@asynccontextmanager
async def _pools(plan: "GatewayPlan", name: str) -> "AsyncIterator[Pools]":
    """Give what the plan's engine runs models with, while the body runs."""
    from devices.gateway.plan import RAY
    from devices.gateway.pool import WorkerPool
    from devices.gateway.ray import RayCluster

    if plan.engine == RAY:
        async with AsyncExitStack() as stack:
            with ui.waiting("joining the Ray cluster"):
                cluster = await stack.enter_async_context(RayCluster(plan.ray, name).running())
            yield cluster.pool
    elif plan.ray.scales:
        raise BadSetting("only the engine ray scales models with their load", hint="run it with --engine ray")
    else:
        yield WorkerPool


@asynccontextmanager
async def _engine(new: "Engine", plan: "GatewayPlan") -> "AsyncIterator[Engine]":
    """Run an engine while the body runs, with all that the plan names."""
    from devices.gateway.model import parse_manifest
    from wave.entities.keyring import read_file
    from wave.errors import MissingFile, UnsignedModel
    from wave.limits import LIMITS

    async with new.running() as engine:
        for model in plan.models:
            try:
                signed = read_file(model.manifest, bound=LIMITS.model_manifest_bytes)
            except MissingFile:
                raise UnsignedModel(f"{model.file} has no signed manifest {model.manifest.name} beside it") from None
            known = engine.models.get(model.name)
            if known is None or not any(one.kept.manifest == signed for one in known.versions.values()):
                about = parse_manifest(signed).model
                if about != model.name:
                    raise BadSetting(f"{model.file} is signed as the model {about}, not {model.name}")
                with ui.waiting(f"loading {model.name}"):
                    await engine.deploy(signed, read_file(model.file, bound=LIMITS.model_bytes))
                if known is None and model.replicas > 1:
                    await engine.scale(model.name, model.replicas)
        for app in plan.apps:
            if app.name not in engine.applications:
                engine.register(app.name, app.terms)
                for linked in app.models:
                    engine.link(app.name, linked)
        yield engine


@asynccontextmanager
async def _served(
    plan: "GatewayPlan",
    engine: "Engine",
    namespace: bytes,
    facts: "FactsSource",
    *,
    anywhere: bool,
    dry_run: bool,
    record: "Recorder | None",
) -> AsyncIterator[tuple[str, str]]:
    """Serve questions and changes, each behind its guard, while the body runs; give both addresses."""
    from aiohttp import web

    from devices.gateway.model import package_bytes
    from devices.gateway.plan import place
    from devices.gateway.service import admin_app, admin_rules, query_app, query_rules
    from wave.chain.listen import address_of, listen_tcp
    from wave.dots.cache import Verifier
    from wave.guard.guard import Guard
    from wave.limits import LIMITS

    verifier = Verifier()
    questions = partial(query_app, origins=plan.origins)
    runners = []
    urls = []
    try:
        for where, rules, build, body_bytes, dry in (
            (plan.listen, query_rules(), questions, LIMITS.http_body_bytes, dry_run),
            (plan.admin, admin_rules(), admin_app, package_bytes(), False),
        ):
            listener = listen_tcp(*place(where), anywhere=anywhere)
            port = listener.getsockname()[1]
            url = address_of(listener)
            guard = Guard(
                namespace,
                rules,
                facts=facts,
                authorities=[url.removeprefix("http://"), f"localhost:{port}", *plan.authorities],
                realm="gateway",
                verifier=verifier,
                record=record,
                body_bytes=body_bytes,
                dry_run=dry,
            )
            runner = web.AppRunner(build(engine, guard), access_log=None, shutdown_timeout=1.0)
            runners.append(runner)
            await runner.setup()
            await web.SockSite(runner, listener).start()
            urls.append(url)
        yield urls[0], urls[1]
    finally:
        for runner in reversed(runners):
            await runner.cleanup()


gateway.add_command(gateway_run, "run")


# Signing -----------------------------------------------------------------------------------------------------------


@verb
@secret_options
@click.option("--namespace", required=True, type=ENTITY, metavar="ENTITY", help="The gateway's namespace.")
@click.option("--model", required=True, metavar="NAME", help="The model that the file is a version of.")
@click.option("--version", required=True, metavar="VERSION", help="Which version it is.")
@click.option("--format", "kind", metavar="FORMAT", help="onnx, python, sklearn or torchscript. Default: by the name.")
@click.option("--input-type", default="doubles", show_default=True, help="integers, floats, doubles, strings or bytes.")
@click.option("--entry", default="predict", show_default=True, help="Of a Python file: the function that answers.")
@click.option("--confidence", is_flag=True, help="The model says how sure it is of each answer.")
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="Until when it may be loaded.")
@click.argument("file", type=FILE)
def gateway_sign(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    namespace: str,
    model: str,
    version: str,
    kind: str | None,
    input_type: str,
    entry: str,
    confidence: bool,
    expires: str,
    file: str,
) -> None:
    """Sign FILE as a version of a model, and write the signature to FILE.wave.

    It takes 'admin@NS/models/NAME', which is asked again whenever the version is deployed or loaded.
    """
    from cli import reference
    from devices.gateway.model import ADMIN, Manifest, resource_of, sign_model
    from devices.gateway.plan import SIGNED
    from wave.entities.keyring import read_file, write_file
    from wave.limits import LIMITS
    from wave.times import parse_expiry

    secret = reference.secret(session, signer, passphrase_file)
    path = Path(file)
    kind = kind or _FORMATS.get(path.suffix)
    if kind is None:
        raise click.UsageError(f"say which --format {path.name} has")
    manifest = Manifest.of(
        read_file(path, bound=LIMITS.model_bytes),
        model=model,
        version=version,
        format=kind,
        input_type=input_type,
        entry=entry,
        confidence=confidence,
    )
    target = path.with_name(path.name + SIGNED)

    async def main() -> None:
        async with agent_of(session) as agent:
            home = await resolve(session, agent, namespace)
            proof = await proof_of_right(agent, secret, home, ADMIN, resource_of(model))
        now = int(time.time())
        lifetime = parse_expiry(expires, now) - now
        signed = sign_model(secret, home, manifest, proof, now=now, lifetime=lifetime, nonce=os.urandom(16))
        write_file(target, signed, replace=True)

    carry_out(main())
    ui.show(
        {"signature": str(target), **manifest.to_json()},
        [f"{target} says that {path.name} is {model} version {version}"],
        as_json=session.json,
    )


gateway.add_command(gateway_sign, "sign")


async def proof_of_right(
    agent: "AgentClient", secret: "EntitySecret", namespace: bytes, permission: str, where: str
) -> "Proof":
    """Return the agent's proof that an entity may; :class:`NoProof`."""
    from wave.guard.provers import agent_prover
    from wave.guard.signer import Challenge

    proof = await agent_prover(agent, secret)(Challenge(namespace, permission, where, None, b""))
    if proof is None:
        raise NoProof(f"nothing here shows that the signer may {permission} {where}", hint="ask for a grant of it")
    return proof


# Changing a running one --------------------------------------------------------------------------------------------


class Asker(NamedTuple):
    """Who asks which gateway for a change, as the options say."""

    signer: str | None
    passphrase_file: str | None
    url: str


def change(session: Session, asker: Asker, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Return what the admin API answers to a signed request; raises its refusal."""
    from cli import reference

    secret = reference.secret(session, asker.signer, asker.passphrase_file)
    url = asker.url.rstrip("/")
    found: dict[str, Any] = {}

    async def main() -> None:
        from aiohttp import ClientError, ClientSession, ClientTimeout

        from wave.guard.client import signing
        from wave.guard.provers import agent_prover

        async with agent_of(session) as agent:
            mine = signing(secret, agent_prover(agent, secret), sessions=False)
            given = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
            timeout = ClientTimeout(total=300)
            try:
                async with (
                    ClientSession(middlewares=[mine], timeout=timeout) as http,
                    http.request(method, url + path, **given) as response,
                ):
                    told = await response.json(content_type=None)
            except (ClientError, TimeoutError, ValueError) as error:
                raise AgentUnavailable(
                    f"no gateway answers at {url}: {error}", hint="start it with 'wave gateway run', or see --gateway"
                ) from None
            if response.status >= 400:
                raise _told(told, response.status)
            found.update(told)

    carry_out(main())
    return found


def _told(told: Any, status: int) -> WaveError:
    return from_problem(told) if isinstance(told, dict) else InputError(f"the gateway answered {status}")


def _show_model(session: Session, told: dict[str, Any]) -> None:
    lines = [f"{told['name']}: version {told['current']} answers, with {told['replicas']} replicas"]
    lines += [f"  before it: version {told['previous']}"] if told["previous"] else []
    ui.show(told, lines, as_json=session.json)


def _show_app(session: Session, told: dict[str, Any]) -> None:
    models = ", ".join(told["models"]) or "no model"
    line = f"{told['name']}: {models} ({told['policy']}), within {told['objective'] * 1000:g} ms"
    ui.show(told, [line], as_json=session.json)


@verb
@admin_options
@click.argument("file", type=FILE)
def gateway_deploy(session: Session, *, signer: str | None, passphrase_file: str | None, url: str, file: str) -> None:
    """Deploy FILE, with its signature in FILE.wave, and let it answer as soon as it is ready."""
    from devices.gateway.model import packed, parse_manifest
    from devices.gateway.plan import SIGNED
    from wave.entities.keyring import read_file
    from wave.limits import LIMITS

    path = Path(file)
    signed = read_file(path.with_name(path.name + SIGNED), bound=LIMITS.model_manifest_bytes)
    manifest = parse_manifest(signed)
    body = packed(signed, read_file(path, bound=LIMITS.model_bytes))
    where = f"/admin/v1/models/{manifest.model}/versions/{manifest.version}"
    _show_model(session, change(session, Asker(signer, passphrase_file, url), "PUT", where, body))


@verb
@admin_options
@click.option("--to", "version", metavar="VERSION", help="Which version. Default: the one before.")
@click.argument("model")
def gateway_rollback(
    session: Session, *, signer: str | None, passphrase_file: str | None, url: str, version: str | None, model: str
) -> None:
    """Let another version of MODEL answer that was deployed."""
    body = {} if version is None else {"version": version}
    where = f"/admin/v1/models/{model}/current"
    _show_model(session, change(session, Asker(signer, passphrase_file, url), "POST", where, body))


@verb
@admin_options
@click.argument("model")
@click.argument("number", type=int)
def gateway_scale(
    session: Session, *, signer: str | None, passphrase_file: str | None, url: str, model: str, number: int
) -> None:
    """Let NUMBER replicas answer for MODEL."""
    where = f"/admin/v1/models/{model}/replicas"
    _show_model(session, change(session, Asker(signer, passphrase_file, url), "POST", where, {"number": number}))


@verb
@admin_options
@click.option("--input-type", default="doubles", show_default=True, help="integers, floats, doubles, strings or bytes.")
@click.option("--default", "default_output", required=True, metavar="JSON", help="What is answered when no model does.")
@click.option("--objective", required=True, metavar="MS", type=float, help="Milliseconds until an answer.")
@click.option("--policy", default="single", show_default=True, help="single, exp3, exp4, ensemble or cascade.")
@click.option("--threshold", default=0.0, show_default=True, help="The least confidence that is answered (0 to 1).")
@click.argument("app")
def gateway_app(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    url: str,
    input_type: str,
    default_output: str,
    objective: float,
    policy: str,
    threshold: float,
    app: str,
) -> None:
    """Serve the application APP, or change its terms."""
    import json

    try:
        default = json.loads(default_output)
    except ValueError:
        raise click.UsageError("--default is a JSON value, such as 0 or '\"unknown\"'") from None
    body = {
        "input_type": input_type,
        "default_output": default,
        "objective": objective / 1000,
        "policy": policy,
        "threshold": threshold,
    }
    _show_app(session, change(session, Asker(signer, passphrase_file, url), "PUT", f"/admin/v1/apps/{app}", body))


@verb
@admin_options
@click.argument("app")
@click.argument("model")
def gateway_link(
    session: Session, *, signer: str | None, passphrase_file: str | None, url: str, app: str, model: str
) -> None:
    """Let APP use MODEL; it takes 'admin' on both."""
    where = f"/admin/v1/apps/{app}/models/{model}"
    _show_app(session, change(session, Asker(signer, passphrase_file, url), "PUT", where))


@verb
@admin_options
@click.argument("app")
@click.argument("model")
def gateway_unlink(
    session: Session, *, signer: str | None, passphrase_file: str | None, url: str, app: str, model: str
) -> None:
    """Let APP use MODEL no more."""
    where = f"/admin/v1/apps/{app}/models/{model}"
    _show_app(session, change(session, Asker(signer, passphrase_file, url), "DELETE", where))


@verb
@admin_options
@click.argument("model")
@click.argument("version")
def gateway_forget(
    session: Session, *, signer: str | None, passphrase_file: str | None, url: str, model: str, version: str
) -> None:
    """Keep a version of MODEL no more; not the one that answers, nor the one before."""
    where = f"/admin/v1/models/{model}/versions/{version}"
    _show_model(session, change(session, Asker(signer, passphrase_file, url), "DELETE", where))


@verb
@admin_options
@click.argument("model")
def gateway_status(session: Session, *, signer: str | None, passphrase_file: str | None, url: str, model: str) -> None:
    """Show a model's versions and replicas."""
    _show_model(session, change(session, Asker(signer, passphrase_file, url), "GET", f"/admin/v1/models/{model}"))


for _name, _command in {
    "deploy": gateway_deploy,
    "rollback": gateway_rollback,
    "scale": gateway_scale,
    "app": gateway_app,
    "link": gateway_link,
    "unlink": gateway_unlink,
    "forget": gateway_forget,
    "status": gateway_status,
}.items():
    gateway.add_command(_command, _name)
