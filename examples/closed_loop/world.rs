//! The world: a disc-shaped robot on a table, a round post in its way, walls around, seen from above. Metres and seconds.
//!
//! rapier2d computes motion and contact. The robot is driven to a commanded position by a spring and a damper whose
//! acceleration is limited, as a position-controlled arm is.

use rapier2d::prelude::*;

/// Control steps per second.
pub const RATE: f32 = 10.0;
/// Radius of the robot.
pub const ROBOT: f32 = 0.04;
/// Radius of the post.
pub const POST: f32 = 0.10;
/// Half the table's width and length.
pub const TABLE: [f32; 2] = [0.5, 0.75];
/// How near to the goal is there.
const REACHED: f32 = 0.05;

/// Physics steps per control step.
const SUBSTEPS: usize = 10;
const MASS: f32 = 1.0;
const STIFFNESS: f32 = 80.0; // 1 / s^2
const DAMPING: f32 = 16.0; // 1 / s
/// Largest acceleration, m/s^2.
const ACCELERATION: f32 = 6.0;
/// Largest speed, m/s.
const SPEED: f32 = 0.9;

/// What is drawn anew for each run.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub start: [f32; 2],
    pub goal: [f32; 2],
    pub post: [f32; 2],
}

impl Layout {
    /// From four uniforms in (0, 1).
    pub fn from(uniform: [f32; 4]) -> Layout {
        let within = |u: f32, half: f32| (2.0 * u - 1.0) * half;
        Layout {
            start: [within(uniform[0], 0.12), -0.62],
            goal: [within(uniform[1], 0.12), 0.60],
            post: [within(uniform[2], 0.04), within(uniform[3], 0.05)],
        }
    }
}

/// Values of an observation: robot x, y, goal x, post x, y.
pub const OBS_DIM: usize = 5;

pub struct World {
    physics: PhysicsWorld,
    robot: RigidBodyHandle,
    body: ColliderHandle,
    layout: Layout,
    touched: bool,
}

impl World {
    pub fn new(layout: Layout) -> World {
        let mut physics = PhysicsWorld::new();
        physics.gravity = Vector::ZERO;
        physics.integration_parameters.dt = 1.0 / (RATE * SUBSTEPS as f32);
        // Lengths here are centimetres, not metres: contacts must be as exact.
        physics.integration_parameters.length_unit = 0.05;
        let [x, y] = layout.start;
        let robot =
            RigidBodyBuilder::dynamic().translation(Vector::new(x, y)).lock_rotations().can_sleep(false);
        let (robot, body) = physics.insert(robot, ColliderBuilder::ball(ROBOT).mass(MASS).friction(0.3));
        let [x, y] = layout.post;
        physics.insert_collider(ColliderBuilder::ball(POST).translation(Vector::new(x, y)), None);
        let [w, l] = TABLE;
        for (x, y, half_w, half_l) in
            [(-w, 0.0, 0.01, l), (w, 0.0, 0.01, l), (0.0, -l, w, 0.01), (0.0, l, w, 0.01)]
        {
            let wall = ColliderBuilder::cuboid(half_w, half_l).translation(Vector::new(x, y));
            physics.insert_collider(wall, None);
        }
        World { physics, robot, body, layout, touched: false }
    }

    /// Where the robot is.
    pub fn position(&self) -> [f32; 2] {
        let at = self.physics.bodies[self.robot].translation();
        [at.x, at.y]
    }

    /// What the policy sees.
    pub fn observe(&self) -> [f32; OBS_DIM] {
        let [x, y] = self.position();
        [x, y, self.layout.goal[0], self.layout.post[0], self.layout.post[1]]
    }

    /// One control step towards a commanded position.
    pub fn step(&mut self, target: [f32; 2]) {
        for _ in 0..SUBSTEPS {
            let body = &mut self.physics.bodies[self.robot];
            let (at, speed) = (body.translation(), body.linvel().clamp_length_max(SPEED));
            let pull = Vector::new(target[0], target[1]) - at;
            let acceleration = (STIFFNESS * pull - DAMPING * speed).clamp_length_max(ACCELERATION);
            body.set_linvel(speed, true);
            body.reset_forces(true);
            body.add_force(MASS * acceleration, true);
            self.physics.step();
            self.touched |= self.touches();
        }
    }

    fn touches(&self) -> bool {
        self.physics.narrow_phase.contact_pairs_with(self.body).any(|pair| pair.has_any_active_contact())
    }

    /// Whether the robot is at its goal.
    pub fn reached(&self) -> bool {
        let ([x, y], [gx, gy]) = (self.position(), self.layout.goal);
        (x - gx).hypot(y - gy) < REACHED
    }

    /// Whether it ever ran into the post or a wall.
    pub fn touched(&self) -> bool {
        self.touched
    }
}
