//! Metadata, replies, errors, noise, batches.

use crate::toy::{
    ACTION, HISTORY, HORIZON, OBS, connect, cpu, get, gpu, observation, policy, policy_of, serve, state,
    websocket,
};
use advect::data::ObsInput;
use advect::serve::{
    ClientError, ErrorKind, NoiseKey, Observation, STATE, ServeConfig, Server, ndarray, robot_seed, wire,
};
use advect::{Noise, SamplerOptions};
use rmpv::Value;
use std::time::Duration;
use tungstenite::Message;

#[test]
fn metadata_says_what_a_client_needs() {
    let server = serve(|config| config.deadline = Some(Duration::from_millis(20)));
    let client = connect(&server);
    let of = |key: &str| client.metadata_of(key).unwrap_or_else(|| panic!("no {key}")).clone();
    assert_eq!(of("observation_keys"), Value::Array(vec![STATE.into()]));
    assert_eq!(
        of("observation_shapes"),
        Value::Map(vec![(STATE.into(), Value::Array(vec![HISTORY.into(), OBS.into()]))])
    );
    for (key, value) in [
        ("protocol_version", 1.into()),
        ("policy", "toy".into()),
        ("policy_steps", 2.into()),
        ("obs_dim", OBS.into()),
        ("history", HISTORY.into()),
        ("action_dim", ACTION.into()),
        ("action_names", Value::Nil),
        ("horizon", HORIZON.into()),
        ("control_rate_hz", 10.0.into()),
        ("solver", "euler:10".into()),
        ("weights", "ema".into()),
        ("deadline_ms", 20.0.into()),
        ("robot", 0.into()),
        ("seed", robot_seed(0, 0).into()),
    ] {
        assert_eq!(of(key), value, "{key}");
    }
    let second = connect(&server);
    assert_eq!(second.metadata_of("robot"), Some(&1.into()));
    assert_eq!(second.metadata_of("seed"), Some(&robot_seed(0, 1).into()));
}

#[test]
fn replies_are_the_samplers() {
    let server = serve(|config| config.seed = 7);
    let mut client = connect(&server);
    let mut sampler = policy().sampler(&cpu(), 1, 1, &SamplerOptions::default()).expect("a sampler");
    let (first, newest) = (observation(1), observation(2));
    let both = [first, newest].concat();
    let own = robot_seed(7, 0);
    // The connection's own noise counts up; a client may name its own, which does not stop the count.
    for (obs, named, used) in [
        (&both, None, NoiseKey { seed: own, request: 0 }),
        (&both, None, NoiseKey { seed: own, request: 1 }),
        (&both, Some(NoiseKey { seed: 5, request: 9 }), NoiseKey { seed: 5, request: 9 }),
        (&both, None, NoiseKey { seed: own, request: 3 }),
    ] {
        let reply = client.infer(&[state(obs)], named).expect("a reply");
        assert_eq!((reply.horizon, reply.action_dim, reply.batch), (HORIZON, ACTION, 1));
        assert_eq!(reply.noise, used);
        assert!(reply.total_ms >= reply.infer_ms && reply.infer_ms > 0.0);
        let mut want = vec![0.0; HORIZON * ACTION];
        let noise = Noise::Seed { seed: used.seed, request: used.request };
        sampler.sample(obs, noise, &mut want).expect("a chunk");
        assert_eq!(reply.actions, want);
    }
    // One step stands for the whole history.
    let key = Some(NoiseKey { seed: 1, request: 1 });
    let repeated = client.infer(&[state(&[newest, newest].concat())], key).expect("a reply");
    assert_eq!(client.infer(&[state(&newest)], key).expect("a reply").actions, repeated.actions);
    let different = client.infer(&[state(&both)], key).expect("a reply");
    assert_ne!(different.actions, repeated.actions);
    client.close().expect("closed in good order");
}

#[test]
fn a_gpu_serves_the_same_chunks() {
    let Some(device) = gpu() else { return };
    let config = ServeConfig {
        port: 0,
        max_batch: 4,
        batch_wait: Duration::from_millis(200),
        ..ServeConfig::default()
    };
    let server = Server::start(policy(), &device, config).expect("a server");
    let mut clients = [connect(&server), connect(&server), connect(&server)];
    let on_cpu = serve(|_| ());
    let mut reference = connect(&on_cpu);
    std::thread::scope(|scope| {
        let robots = clients.iter_mut().enumerate().map(|(robot, client)| {
            let key = NoiseKey { seed: robot as u64, request: 1 };
            scope.spawn(move || client.infer(&[state(&observation(robot))], Some(key)).expect("a reply"))
        });
        let robots: Vec<_> = robots.collect();
        for (robot, reply) in robots.into_iter().enumerate() {
            let reply = reply.join().expect("a robot");
            let want = reference.infer(&[state(&observation(robot))], Some(reply.noise)).expect("a reply");
            for (found, wanted) in reply.actions.iter().zip(&want.actions) {
                assert!((found - wanted).abs() < 1e-4, "robot {robot}: {found} {wanted}");
            }
        }
    });
}

#[test]
fn several_inputs_go_by_their_keys() {
    let input = |name: &str, dim| ObsInput { name: name.into(), dim };
    let policy = policy_of(vec![input("observation/arm", 2), input("observation/cup", 1)]);
    let config = ServeConfig { port: 0, max_batch: 1, ..ServeConfig::default() };
    let server = Server::start(policy, &cpu(), config).expect("a server");
    let mut client = connect(&server);
    let keys = Value::Array(vec!["observation/arm".into(), "observation/cup".into()]);
    assert_eq!(client.metadata_of("observation_keys"), Some(&keys));
    let arm = Observation { key: "observation/arm", shape: &[HISTORY, 2], data: &[0.1, 0.2, 0.3, 0.4] };
    let cup = Observation { key: "observation/cup", shape: &[1], data: &[0.5] };
    let key = NoiseKey { seed: 1, request: 2 };
    let reply = client.infer(&[cup, arm], Some(key)).expect("a reply");
    // The same policy with one input, which has the parts side by side.
    let one = serve(|config| config.max_batch = 1);
    let want = connect(&one).infer(&[state(&[0.1, 0.2, 0.5, 0.3, 0.4, 0.5])], Some(key)).expect("a reply");
    assert_eq!(reply.actions, want.actions);
    for (observations, words) in [
        (vec![arm], "\"observation/cup\" is missing"),
        (vec![state(&[0.0; 3])], "\"observation/arm\" is missing"),
    ] {
        match client.infer(&observations, None) {
            Err(ClientError::Server(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[test]
fn no_reply_holds_an_array_without_the_horizon() {
    let server = serve(|_| ());
    let mut client = websocket(server.address());
    let request = Value::Map(vec![(STATE.into(), ndarray(&[OBS], &observation(0)))]);
    for _ in 0..2 {
        client.send(Message::Binary(wire::encode(&request).into())).expect("sent");
        let Message::Binary(reply) = client.read().expect("a reply") else { panic!("no binary frame") };
        let limits = wire::MessageLimits { values: 1000, depth: 8 };
        let reply = wire::decode(&reply, &limits).expect("msgpack").to_owned();
        fn check(value: &Value, path: &str) {
            let Value::Map(entries) = value else {
                assert!(!value.is_array() && !value.is_bin(), "{path}: {value}");
                return;
            };
            let of = |name: &[u8]| entries.iter().find(|(k, _)| k.as_slice() == Some(name)).map(|(_, v)| v);
            if of(b"__ndarray__").is_some() {
                assert_eq!(of(b"shape").unwrap()[0], HORIZON.into(), "{path}");
                return;
            }
            entries.iter().for_each(|(k, v)| check(v, &format!("{path}/{k}")));
        }
        check(&reply, "");
    }
}

#[test]
fn a_bad_request_gets_its_reason_and_the_stream_goes_on() {
    let server = serve(|_| ());
    let mut client = connect(&server);
    let obs = observation(0);
    let good =
        |client: &mut advect::serve::PolicyClient| client.infer(&[state(&obs)], None).expect("a reply");
    good(&mut client);
    let other = |key: &'static str, shape: &'static [usize], data: &'static [f32]| {
        vec![Observation { key, shape, data }]
    };
    for (observations, words) in [
        (vec![], "\"observation/state\" is missing"),
        (other("observation/image", &[1], &[0.0]), "\"observation/state\" is missing"),
        (other(STATE, &[4], &[0.0; 4]), "has the shape [4]; needed [2, 3] or [3]"),
        (other(STATE, &[3], &[0.0, f32::NAN, 0.0]), "NaN at element 1"),
        (other(STATE, &[3], &[0.0, 0.0, f32::NEG_INFINITY]), "-inf at element 2"),
    ] {
        match client.infer(&observations, None) {
            Err(ClientError::Server(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{words}: {other:?}"),
        }
        good(&mut client);
    }
    for garbage in [&b"garbage"[..], b"", &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0x91; 5000], &[0xc1]] {
        match client.request(garbage) {
            Err(ClientError::Server(text)) => assert!(text.contains("cannot be read"), "{text}"),
            other => panic!("{garbage:?}: {other:?}"),
        }
        good(&mut client);
    }
    let mut raw = websocket(server.address());
    raw.send(Message::text("hello")).expect("sent");
    let answer = raw.read().expect("an answer");
    assert!(answer.to_text().expect("a text").contains("found a text frame"), "{answer:?}");
    assert_eq!(server.metrics().errors(ErrorKind::Observation), 5);
    assert_eq!(server.metrics().errors(ErrorKind::Malformed), 6);
    assert_eq!(server.metrics().requests(), 11 + 11);
}

#[test]
fn prompts_and_pictures_are_passed_over_unless_the_server_is_strict() {
    let picture = |bytes: usize, dtype: &str| {
        let key = |text: &str| Value::Binary(text.as_bytes().to_vec());
        let shape = [480, 640, 3].map(Value::from).to_vec();
        Value::Map(vec![
            (key("__ndarray__"), true.into()),
            (key("data"), Value::Binary(vec![0; 480 * 640 * 3 * bytes])),
            (key("dtype"), dtype.into()),
            (key("shape"), Value::Array(shape)),
        ])
    };
    let state = || (STATE.into(), ndarray(&[OBS], &observation(0)));
    let prompt = || ("prompt".into(), "swing".into());
    let cameras = |bytes, dtype| {
        let keys = ["observation/image", "observation/wrist_image", "observation/left_image"];
        keys.map(|key| (Value::from(key), picture(bytes, dtype)))
    };
    let server = serve(|_| ());
    let mut client = connect(&server);
    assert_eq!(client.metadata_of("unknown_keys"), Some(&"ignored".into()));
    let mut all = vec![vec![state(), prompt()]];
    // The usual pictures, and the largest: three cameras in doubles.
    for (bytes, dtype) in [(1, "|u1"), (8, "<f8")] {
        all.push([vec![state(), prompt()], cameras(bytes, dtype).to_vec()].concat());
    }
    for request in all {
        let reply = client.request(&wire::encode(&Value::Map(request))).expect("a reply");
        assert_eq!(reply.actions.len(), HORIZON * ACTION);
    }
    let twice = wire::encode(&Value::Map(vec![state(), prompt(), prompt()]));
    match client.request(&twice) {
        Err(ClientError::Server(text)) => assert!(text.contains("\"prompt\" is there twice"), "{text}"),
        other => panic!("{other:?}"),
    }
    let strict = serve(|config| config.strict = true);
    let mut client = connect(&strict);
    assert_eq!(client.metadata_of("unknown_keys"), Some(&"refused".into()));
    match client.request(&wire::encode(&Value::Map(vec![state(), prompt()]))) {
        Err(ClientError::Server(text)) => assert!(text.contains("the key \"prompt\" is unknown"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn robots_share_passes_and_keep_their_noise() {
    const ROBOTS: usize = 12;
    const REQUESTS: usize = 5;
    let server = serve(|config| config.batch_wait = Duration::from_millis(30));
    let key = |robot: usize, n: usize| NoiseKey { seed: robot as u64, request: n as u64 };
    let mut alone = connect(&server);
    let want: Vec<Vec<f32>> = (0..ROBOTS * REQUESTS)
        .map(|i| {
            let (robot, n) = (i / REQUESTS, i % REQUESTS);
            let reply = alone.infer(&[state(&observation(robot))], Some(key(robot, n))).expect("a reply");
            assert_eq!(reply.batch, 1);
            reply.actions
        })
        .collect();
    let mut clients: Vec<_> = (0..ROBOTS).map(|_| connect(&server)).collect();
    let (passes, _) = server.metrics().batches();
    let largest = std::thread::scope(|scope| {
        let robots = clients.iter_mut().enumerate().map(|(robot, client)| {
            let want = &want;
            scope.spawn(move || {
                let mut largest = 0;
                for n in 0..REQUESTS {
                    let reply =
                        client.infer(&[state(&observation(robot))], Some(key(robot, n))).expect("a reply");
                    for (found, wanted) in reply.actions.iter().zip(&want[robot * REQUESTS + n]) {
                        assert!((found - wanted).abs() < 1e-5, "robot {robot}: {found} {wanted}");
                    }
                    largest = reply.batch.max(largest);
                }
                largest
            })
        });
        let robots: Vec<_> = robots.collect();
        robots.into_iter().map(|robot| robot.join().expect("a robot")).max()
    });
    assert_eq!(largest, Some(8), "the largest batch is full");
    let (after, sum) = server.metrics().batches();
    assert!(after - passes < (ROBOTS * REQUESTS / 2) as u64, "{passes} to {after}");
    assert_eq!(sum, (2 * ROBOTS * REQUESTS) as f64);
}

#[test]
fn one_robots_overflow_is_not_anothers() {
    let server = serve(|config| config.batch_wait = Duration::from_millis(200));
    let (mut bad, mut good) = (connect(&server), connect(&server));
    let huge = [f32::MAX, -f32::MAX, f32::MAX];
    std::thread::scope(|scope| {
        let bad = scope.spawn(|| bad.infer(&[state(&huge)], None));
        let good = scope.spawn(|| good.infer(&[state(&observation(0))], None));
        match bad.join().expect("ended") {
            Err(ClientError::Server(text)) => assert!(text.contains("not finite"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(good.join().expect("ended").expect("a reply").actions.len(), HORIZON * ACTION);
    });
    assert_eq!(server.metrics().errors(ErrorKind::Inference), 1);
    // One pass for both, and one of its rows has actions: nothing ran twice.
    assert_eq!(server.metrics().batches(), (1, 1.0));
    bad.infer(&[state(&observation(1))], None).expect("the stream goes on");
    assert_eq!(server.metrics().batches(), (2, 2.0));
}

#[test]
fn misses_are_counted_and_answered() {
    let server = serve(|config| config.deadline = Some(Duration::ZERO));
    let mut client = connect(&server);
    let reply = client.infer(&[state(&observation(0))], None).expect("a reply");
    assert!(reply.deadline_missed);
    assert_eq!(server.metrics().misses(), 1);
    let server = serve(|config| config.deadline = Some(Duration::from_secs(60)));
    assert!(!connect(&server).infer(&[state(&observation(0))], None).expect("a reply").deadline_missed);
    assert_eq!(server.metrics().misses(), 0);
}

#[test]
fn health_and_metrics() {
    let server = serve(|_| ());
    let mut client = connect(&server);
    client.infer(&[state(&observation(0))], None).expect("a reply");
    assert_eq!(get(server.address(), "/healthz", ""), (200, "OK\n".into()));
    let (status, text) = get(server.address(), "/metrics", "");
    assert_eq!(status, 200);
    for line in ["advect_requests_total 1", "advect_connections 1", "advect_batch_size_count 1"] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
    // Every line is a comment or `name{labels} number`.
    for line in text.lines().filter(|l| !l.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').expect("two words");
        assert!(name.starts_with("advect_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(get(server.address(), "/nothing", "").0, 404);
    // A visitor with a browser.
    assert_eq!(get(server.address(), "/", "").0, 400);
}
